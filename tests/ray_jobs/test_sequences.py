"""Sequences by both runners: the same files, byte for byte, and the same counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import Options
from fuseid.pipelines.sequences.registry import FORMATS
from fuseid.pipelines.sequences.shards import SHARD, Job, LocalRunner, Runner
from fuseid.ray_jobs import sequences
from fuseid.ray_jobs.sequences import RayRunner

pytestmark = pytest.mark.usefixtures("ray_cluster")
SHARDS = 5
ITEMS = 40


@pytest.fixture(scope="module")
def items() -> Items:
    generator = np.random.default_rng(0)
    rows = pa.record_batch(
        {
            "content_id": [f"item-{number:02d}" for number in range(ITEMS)],
            "codes": pa.array(generator.integers(0, 8, (ITEMS, 3)).tolist(), pa.list_(pa.int32())),
            "suffix": pa.array([None, 1] * (ITEMS // 2), pa.int32()),
        }
    )
    return Items.of([rows], (8, 8, 8), titles=lambda table: table["content_id"].combine_chunks())


def shards() -> list[tuple[int, pa.Table]]:
    """Every shard but one, each of some users; the last has no example."""
    out = []
    schema = pa.schema([*SHARD, ("event", pa.string())])
    for number in (0, 1, 3, 4):
        generator = np.random.default_rng(number)
        count = 300 if number < 4 else 1
        columns = [
            pa.array([f"user-{number}-{user}" for user in generator.integers(0, 30, count)]),
            pa.array(generator.integers(0, ITEMS, count), pa.int32()),
            pa.array(generator.integers(0, 10**9, count), pa.int64()),
            pa.array(generator.choice(["click", "buy"], count)),
        ]
        out.append((number, pa.table(columns, schema=schema)))
    return out


def run(runner: Runner, job: Job, items: Items, folder: Path) -> tuple[Counter[str], dict[str, bytes]]:
    folder.mkdir()
    counts: Counter[str] = Counter()
    for done in runner.run(job, items, iter(shards()), folder):
        counts.update(done)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return counts, files


@pytest.mark.parametrize("format", FORMATS)
def test_both_runners_write_the_same_bytes(items, tmp_path, format):
    job = Job(format, Options(max_history=8), "prefix", SHARDS)
    local = run(LocalRunner(), job, items, tmp_path / "local")
    assert local[0]["train"] > 100
    assert run(RayRunner(), job, items, tmp_path / "ray") == local


def test_files_of_many_pieces_arrive_whole(items, tmp_path, monkeypatch):
    job = Job("jsonl", Options(), "prefix", SHARDS)
    appended = []

    def append(folder: Path, name: str, piece: np.ndarray) -> None:
        appended.append(name)
        original(folder, name, piece)

    original = sequences._append
    monkeypatch.setattr(sequences, "_append", append)
    local = run(LocalRunner(), job, items, tmp_path / "local")
    assert run(RayRunner(piece_bytes=1000), job, items, tmp_path / "ray") == local
    assert appended.count("train-00000.jsonl") > 2


def test_what_a_shard_raises_comes_as_what_it_is(items, tmp_path):
    with pytest.raises(BadInput, match="no format is named 'arrow'"):
        run(RayRunner(), Job("arrow", Options(), "prefix", SHARDS), items, tmp_path / "ray")
