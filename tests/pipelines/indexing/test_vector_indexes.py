"""Vector indexes: measured, searched as hard as is needed, and made again when they do not find enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.indexing.vector_indexes import outgrown_index, partitions, vectors_in
from fuseid.pipelines.search.nearest import nearest
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.index_figures import figures_of, measured, segments, vector_indexes
from fuseid.pipelines.store.indexes import extend_indexes
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import nan_rows, to_fixed
from tests.pipelines.indexing.conftest import clustered


def recall_of(store: Store, queries: np.ndarray) -> float:
    """recall@10 of look-ups, for queries that are no items, against a plain matrix product."""
    view = View(store, store.dataset("contents"))
    table = view.contents.to_table(columns=["content_id", "fused"])
    vectors = np.asarray(table["fused"].to_pylist(), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names, hits = np.asarray(table["content_id"].to_pylist()), 0
    for query in queries:
        best = {*names[np.argsort(-(vectors @ query))[:10]]}
        hits += len(best & {row["content_id"] for row in nearest(view, "fused", query, 10)})
    return hits / (10 * len(queries))


@pytest.mark.parametrize("dim", [24, 48])
def test_an_index_finds_what_is_asked_for_also_for_vectors_that_are_no_items(written, dim):
    store = written({"fused": clustered(6000, dim, spread=1)})
    assert maintain(store, vector_rows=1000) == []
    dataset = store.dataset("contents")
    (figures,) = figures_of(dataset).values()
    assert figures.rows == 6000
    assert figures.canaries == 100
    assert figures.recall >= 0.95
    # A sample of 60 queries; the efforts are those of another sample.
    assert recall_of(store, clustered(60, dim, seed=5, spread=1)) >= 0.9
    low = maintain(store, vector_rows=1000, recall=0.5)
    assert low == []
    easier = measured(store.dataset("contents"), ["fused"])["fused"].effort(filtered=False)
    assert easier.probes < figures.found["all"].effort.probes or figures.found["all"].effort.probes == 1


def test_an_index_that_has_not_changed_is_not_measured_again(written, monkeypatch):
    store = written({"fused": clustered(1500)})
    maintain(store, vector_rows=1000)
    version = store.dataset("contents").version
    with monkeypatch.context() as patched:
        patched.delattr("fuseid.pipelines.indexing.vector_indexes.canaries")
        maintain(store, vector_rows=1000)
    maintain(store, vector_rows=1000, measure_all=True)
    assert store.dataset("contents").version == version


def test_rows_that_arrive_are_added_and_measured(written):
    store = written({"fused": clustered(1500)})
    maintain(store, vector_rows=1000)
    before = figures_of(store.dataset("contents"))["fused_idx"]
    written({"fused": clustered(700, seed=2)}, first=1500)
    assert maintain(store, vector_rows=1000) == []
    after = figures_of(store.dataset("contents"))["fused_idx"]
    assert (before.rows, after.rows) == (1500, 2200)
    assert after.segments != before.segments
    assert recall_of(store, clustered(30, seed=6)) >= 0.9


def test_an_index_is_measured_again_when_a_twentieth_of_its_rows_has_been_added(written, monkeypatch):
    store = written({"fused": clustered(2000)})
    maintain(store, vector_rows=1000)
    before = figures_of(store.dataset("contents"))["fused_idx"]
    with monkeypatch.context() as patched:
        patched.setattr("fuseid.pipelines.indexing.vector_indexes.canaries", None)  # a measurement would fail
        for first in (2000, 2050):
            written({"fused": clustered(50, seed=first)}, first=first)
            assert maintain(store, vector_rows=1000) == []
    few = figures_of(store.dataset("contents"))["fused_idx"]
    assert (few.rows, few.added, few.found) == (2000, 100, before.found)
    assert few.segments == segments(vector_indexes(store.dataset("contents"))[0])
    assert recall_of(store, clustered(30, seed=6)) >= 0.9
    written({"fused": clustered(1, seed=3)}, first=2100)
    assert maintain(store, vector_rows=1000) == []
    more = figures_of(store.dataset("contents"))["fused_idx"]
    assert (more.rows, more.added) == (2101, 0)


def test_rows_without_a_vector_do_not_count(written):
    vectors = np.full((40_000, 24), np.nan, np.float32)
    vectors[:2000] = clustered(2000, 24)
    store = written({"fused": vectors})
    assert maintain(store, vector_rows=1000) == []
    dataset = store.dataset("contents")
    (index,) = vector_indexes(dataset)
    assert vectors_in(dataset, index.name) == figures_of(dataset)[index.name].rows == 2000
    assert partitions(dataset, index.name) == round(2000**0.5)
    assert not outgrown_index(dataset, index)
    written({"fused": np.full((10, 24), np.nan, np.float32)}, first=40_000)
    assert maintain(store, vector_rows=1000) == []
    assert segments(vector_indexes(store.dataset("contents"))[0]) == segments(index)


def test_rows_that_a_killed_run_added_are_measured(written):
    store = written({"fused": clustered(2000)})
    maintain(store, vector_rows=1000)
    written({"fused": clustered(50, seed=2)}, first=2000)
    extend_indexes(store, "contents")  # the run ends here
    maintain(store, vector_rows=1000)
    assert figures_of(store.dataset("contents"))["fused_idx"].rows == 2050


def spoil(store, **options) -> None:
    """Replaces the index by one whose partitions and codes fit other vectors."""
    elsewhere = np.tile(clustered(1, seed=9), (16, 1)) + 0.01 * clustered(16, seed=10)
    store.dataset("contents").create_index(
        "fused", "IVF_PQ", name="fused_idx", metric="cosine", replace=True, num_partitions=16, num_sub_vectors=2,
        ivf_centroids=elsewhere.astype(np.float32), sample_rate=2, **options,
    )  # fmt: skip


def test_an_index_that_finds_too_little_is_noticed_and_made_again(written):
    store = written({"fused": clustered(3000, spread=2)})
    maintain(store, vector_rows=1000)
    spoil(store)
    assert recall_of(store, clustered(30, seed=6, spread=2)) < 0.7
    (note,) = maintain(store, vector_rows=1000)
    assert "the index fused_idx" in note
    assert note.endswith("it was made again")
    (figures,) = figures_of(store.dataset("contents")).values()
    assert figures.recall >= 0.95
    assert recall_of(store, clustered(30, seed=6, spread=2)) >= 0.9


@pytest.mark.parametrize("damage", ["cut", "gone", "zeros"])
def test_an_index_whose_files_are_damaged_is_made_again(written, damage):
    store = written({"fused": clustered(2000)})
    maintain(store, vector_rows=1000)
    (index,) = vector_indexes(store.dataset("contents"))
    (folder,) = (f"{store.path('contents')}/_indices/{uuid}" for uuid in segments(index))
    for path in Path(folder).iterdir():
        content = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(len(content)))
    (note,) = maintain(store, vector_rows=1000, measure_all=True)
    assert "could not be read" in note
    (again,) = vector_indexes(store.dataset("contents"))
    assert segments(again) != segments(index)
    assert recall_of(store, clustered(30, seed=6)) >= 0.9


def test_rows_of_another_kind_are_noticed(written):
    store = written({"fused": clustered(2000, spread=0.1)})
    maintain(store, vector_rows=1000)
    written({"fused": 50 + clustered(8000, seed=3, spread=3)}, first=2000)
    maintain(store, vector_rows=1000)
    (figures,) = figures_of(store.dataset("contents")).values()
    assert figures.rows == 10_000
    assert figures.recall >= 0.95


def test_vectors_that_are_all_alike_can_be_indexed(written):
    store = written({"fused": np.ones((1200, 48), np.float32)})
    assert maintain(store, vector_rows=1000) == []
    (figures,) = figures_of(store.dataset("contents")).values()
    assert figures.recall is None
    assert len(nearest(View(store, store.dataset("contents")), "fused", np.ones(48, np.float32), 10)) == 10


def test_an_index_of_an_earlier_fuseid_is_measured_and_kept(written):
    store = written({"fused": clustered(3000)})
    store.dataset("contents").create_index("fused", "IVF_PQ", name="fused_idx", metric="cosine", num_partitions=8,
                                           num_sub_vectors=12, sample_rate=8)  # fmt: skip
    assert measured(store.dataset("contents"), ["fused"]) == {}
    before = vector_indexes(store.dataset("contents"))[0]
    maintain(store, vector_rows=1000)
    (after,) = vector_indexes(store.dataset("contents"))
    assert segments(after) == segments(before)
    assert figures_of(store.dataset("contents"))["fused_idx"].recall >= 0.95


def test_an_index_whose_every_vector_was_written_again_has_all_its_partitions(written):
    store = written({"fused": clustered(3000, 24)})
    maintain(store, vector_rows=1000)
    before = partitions(store.dataset("contents"), "fused_idx")

    def turned(fragment):
        for batch in fragment.to_batches(columns=["content_id", "fused"]):
            vectors = -nan_rows(batch["fused"], 24)
            yield pa.record_batch([batch["content_id"], to_fixed(vectors)], names=["content_id", "fused"])

    store.rewrite_columns(turned)
    assert vector_indexes(store.dataset("contents"))[0].num_rows_indexed == 0
    assert maintain(store, vector_rows=1000) == []
    assert partitions(store.dataset("contents"), "fused_idx") == before
    assert recall_of(store, -clustered(30, 24, seed=6)) >= 0.9
