"""The neighbour table of a catalogue: complete, in order, as good as it says, the same for any number of threads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, NotReady, StoreError
from fuseid.core.schemas import contents_schema
from fuseid.pipelines import neighbours as verb
from fuseid.pipelines.exports.folder import read_manifest
from fuseid.pipelines.neighbourhood import partitions, recall
from fuseid.pipelines.neighbours import neighbours
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed


def rows_of(folder: Path) -> list[dict]:
    shards = sorted(folder.glob("neighbours-*.parquet"))
    return [row for shard in shards for row in pq.read_table(shard).to_pylist()]


def by_sorting(vectors: dict[str, np.ndarray], k: int) -> dict[str, list[tuple[str, float]]]:
    """The true neighbours, with cosines in double precision; equal ones by content_id."""
    units = {name: np.float64(row) / np.linalg.norm(np.float64(row)) for name, row in vectors.items() if np.any(row)}
    found = {}
    for name, row in units.items():
        others = sorted((-round(float(row @ other), 6), each) for each, other in units.items() if each != name)
        found[name] = [(each, -score) for score, each in others[:k]]
    return found


@pytest.fixture
def many(monkeypatch):
    """Few rows in many partitions, and few canaries."""
    monkeypatch.setattr(partitions, "_ONE_PARTITION", 20)
    monkeypatch.setattr(recall, "CANARIES", 40)
    monkeypatch.setattr(verb, "CANARIES", 40)
    monkeypatch.setattr(verb, "_GROUP_ROWS", 30)


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_bare, cluster):
    """300 vectors, some of them zero, none or copies of another."""
    workspace = make_bare(tmp_path_factory.mktemp("neighbours"))
    rows = cluster(300)
    rows["v007"] = rows["v100"] = rows["v033"]
    workspace.ingest_vectors(rows)
    workspace.fit()
    return workspace


def vectors_of(workspace, column: str) -> dict[str, np.ndarray]:
    return {name: np.array(row[column]) for name, row in workspace.rows().items() if row[column] is not None}


def test_one_partition_gives_what_sorting_gives(store, tmp_path):
    manifest = neighbours(store.uri(), tmp_path / "out", 12)
    expected, rows = by_sorting(vectors_of(store, "fused"), 12), rows_of(tmp_path / "out")
    assert [row["content_id"] for row in rows] == sorted(expected)
    for row in rows:
        wanted = expected[row["content_id"]]
        assert row["scores"] == pytest.approx([score for _, score in wanted], abs=2e-6)
        assert row["sid"] == store.ids()[row["content_id"]]
        # Neighbours whose scores are equal except for rounding may have changed places.
        for name, score in zip(row["neighbours"], row["scores"], strict=True):
            assert dict(wanted).get(name, wanted[-1][1]) == pytest.approx(score, abs=2e-6)
    copies = {row["content_id"]: row["neighbours"][:2] for row in rows if row["content_id"] in ("v007", "v033", "v100")}
    assert copies == {"v007": ["v033", "v100"], "v033": ["v007", "v100"], "v100": ["v007", "v033"]}
    assert manifest["recall"] == {"value": 1.0, "low": 1.0, "high": 1.0, "canaries": 300}
    assert (manifest["space"], manifest["k"], manifest["items"]) == ("fused", 12, 300)
    assert read_manifest(tmp_path / "out") == manifest


def test_the_recall_of_many_partitions_is_reached_and_measured(store, tmp_path, many):
    manifest = neighbours(store.uri(), tmp_path / "out", 10, recall=0.8)
    expected, rows = by_sorting(vectors_of(store, "fused"), 10), rows_of(tmp_path / "out")
    shares = []
    for row in rows:
        assert len(row["neighbours"]) == len(set(row["neighbours"])) == 10
        assert row["content_id"] not in row["neighbours"]
        assert row["scores"] == sorted(row["scores"], reverse=True)
        worst = expected[row["content_id"]][-1][1]
        shares.append(np.mean([score >= worst - 2e-6 for score in row["scores"]]))
    assert manifest["partitions"] == 34
    assert manifest["recall"]["canaries"] == 20
    assert np.mean(shares) >= 0.8
    assert manifest["recall"]["low"] <= np.mean(shares) <= manifest["recall"]["high"]
    assert manifest["probes"] < 34


def test_threads_make_no_difference(store, tmp_path, many):
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(neighbours(store.uri(), tmp_path / str(threads), 10, recall=0.8))
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1]


@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(1, 70), st.integers(1, 4))
@settings(max_examples=15)
def test_any_catalogue_has_all_neighbours_if_all_partitions_are_probed(
    tmp_path_factory, make_bare, seed, count, k, dim
):
    folder = tmp_path_factory.mktemp("any")
    workspace = make_bare(folder)
    generator = np.random.default_rng(seed)
    vectors = {f"v{number}": generator.integers(-2, 3, dim).astype(np.float32) for number in range(count)}
    vectors["v0"][:] = 1  # one at least is not zero
    store = Store.create(workspace.uri())
    write(store, vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "_ONE_PARTITION", 9)
        patch.setattr(partitions.Partitions, "probed", lambda self, rows, probes: (
            np.repeat(np.arange(len(rows)), len(self.centres_PD)), np.tile(np.arange(len(self.centres_PD)), len(rows))
        ))  # fmt: skip
        manifest = neighbours(workspace.uri(), folder / "out", k)
    expected = by_sorting(vectors, k)
    found = {row["content_id"]: [round(score, 5) for score in row["scores"]] for row in rows_of(folder / "out")}
    assert found == {
        name: pytest.approx([score for _, score in each], abs=2e-5) for name, each in sorted(expected.items())
    }
    assert manifest["items_without_vector"] == count - len(expected)


def write(store: Store, vectors: dict[str, np.ndarray]) -> None:
    dim = len(next(iter(vectors.values())))
    schema = contents_schema({"external": dim})
    columns = {name: pa.nulls(len(vectors), schema.field(name).type) for name in schema.names}
    columns |= {"content_id": pa.array([*vectors]), "external": to_fixed(np.stack([*vectors.values()]))}
    columns["kind"] = pa.array(["text"] * len(vectors))
    lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"))


def test_a_space_may_be_named_and_an_unknown_one_is_answered_with_the_nearest(store, tmp_path):
    assert neighbours(store.uri(), tmp_path / "out", 3, space="external")["space"] == "external"
    with pytest.raises(BadInput, match="did you mean external"):
        neighbours(store.uri(), tmp_path / "other", 3, space="extrenal")


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 1001}, {"recall": 1.0}, {"recall": float("nan")}])
def test_numbers_out_of_range_are_refused(store, tmp_path, wrong):
    with pytest.raises(BadInput, match=f"{next(iter(wrong))}= is"):
        neighbours(store.uri(), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_catalogue_without_vectors_has_no_table(tmp_path, bare):
    Store.create(bare.uri("empty"))
    with pytest.raises(StoreError):
        neighbours(bare.uri("empty"), tmp_path / "out")
    store = Store.create(bare.uri())
    write(store, {"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)})
    with pytest.raises(NotReady, match="not zero"):
        neighbours(bare.uri(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_the_versions_are_those_of_the_beginning_and_no_pin_is_left(fitted, tmp_path, cluster):
    contents = fitted.store().dataset("contents")

    class Later:
        """Ingests while the table is made."""

        begun = False

        def begin(self, stage, total):
            if stage == "exact" and not self.begun:
                self.begun = True
                fitted.ingest_vectors(cluster(80, seed=5))

        def advance(self, stage, done):
            pass

    manifest = neighbours(fitted.uri(), tmp_path / "out", 5, progress=Later())
    assert manifest["versions"] == {"contents": contents.version}
    assert len(rows_of(tmp_path / "out")) == 60
    assert [tag for tag in fitted.store().dataset("contents").tags.list() if tag.startswith("pin-")] == []


def test_a_killed_job_leaves_no_folder_and_the_next_one_removes_its_remains(store, tmp_path):
    code = f"""
import os, signal
from fuseid.pipelines import neighbours as verb
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
verb.write_shards = die
verb.neighbours({store.uri()!r}, {str(tmp_path / "out")!r}, 5)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".out-*"))) == 1
    neighbours(store.uri(), tmp_path / "out", 5)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["items"] == 300
