"""Sequences by both runners: the same files, byte for byte, and the same counts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ray

from fuseid.core.errors import BadInput, FuseidError
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import Options
from fuseid.pipelines.sequences.registry import FORMATS
from fuseid.pipelines.sequences.shards import SHARD, Job, LocalShardRunner, ShardRunner
from fuseid.ray_jobs import sequences
from fuseid.ray_jobs.sequences import RayShardRunner

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


def run(runner: ShardRunner, job: Job, items: Items, folder: Path) -> tuple[Counter[str], dict[str, bytes]]:
    folder.mkdir()
    counts: Counter[str] = Counter()
    for done in runner.run(job, items, iter(shards()), folder):
        counts.update(done)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return counts, files


@pytest.mark.parametrize("format", FORMATS)
def test_both_runners_write_the_same_bytes(items, tmp_path, format):
    job = Job(format, Options(max_history=8), "prefix", SHARDS)
    local = run(LocalShardRunner(), job, items, tmp_path / "local")
    assert local[0]["train"] > 100
    assert run(RayShardRunner(), job, items, tmp_path / "ray") == local


def test_large_files_arrive_whole(items, tmp_path, monkeypatch):
    job = Job("jsonl", Options(), "prefix", SHARDS)
    appended = []

    def append(shard: sequences._Shard, folder: Path, name: str, piece: np.ndarray) -> None:
        appended.append(name)
        original(shard, folder, name, piece)

    original = sequences._Shard.append
    monkeypatch.setattr(sequences._Shard, "append", append)
    local = run(LocalShardRunner(), job, items, tmp_path / "local")
    assert run(RayShardRunner(piece_bytes=1000), job, items, tmp_path / "ray") == local
    assert appended.count("train-00000.jsonl") > 2


def test_a_shard_whose_worker_dies_is_written_again(items, tmp_path, monkeypatch):
    job = Job("jsonl", Options(), "prefix", SHARDS)
    deadly = tmp_path / "deadly"
    monkeypatch.setattr(sequences, "_write", _deadly_write(deadly))
    local = run(LocalShardRunner(), job, items, tmp_path / "local")
    assert run(RayShardRunner(piece_bytes=1000), job, items, tmp_path / "ray") == local
    assert len(list(deadly.iterdir())) == 1


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_is_reported_in_one_line(items, tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "_write", _deadly_write(tmp_path / "deadly", times=9))
    with pytest.raises(FuseidError, match="shard 3 was lost 5 times over") as refused:
        run(RayShardRunner(), Job("jsonl", Options(), "prefix", SHARDS), items, tmp_path / "ray")
    assert "\n" not in str(refused.value)


def _deadly_write(folder: Path, times: int = 1) -> Any:
    """The task, whose process kills itself after the second piece of shard 3, so many times."""
    write = sequences._write._function

    def deadly(job: Job, table: pa.Table, number: int, events: pa.Table, piece_bytes: int) -> Iterator[Any]:
        for count, piece in enumerate(write(job, table, number, events, piece_bytes)):
            folder.mkdir(exist_ok=True)
            if number == 3 and count == 2 and (deaths := len(list(folder.iterdir()))) < times:
                (folder / str(deaths)).touch()
                os._exit(1)
            yield piece

    return ray.remote(num_cpus=1, num_returns="streaming", max_retries=0)(deadly)


@pytest.mark.slow
def test_errors_of_a_shard_keep_their_type(items, tmp_path):
    with pytest.raises(BadInput, match="unknown format 'arrow'"):
        run(RayShardRunner(), Job("arrow", Options(), "prefix", SHARDS), items, tmp_path / "ray")
