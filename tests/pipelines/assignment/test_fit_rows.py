"""The rows of a fit: which ones, in which blocks, whatever the order of commits and however they are read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import NotReady
from fuseid.pipelines.assignment import fit_rows
from fuseid.pipelines.assignment.champion import load_fusion
from fuseid.pipelines.assignment.fit_blocks import LocalFitRunner
from fuseid.pipelines.assignment.fit_rows import FitRows, Fused, Joined, rows_of_tokenizer
from fuseid.pipelines.jobs.progress import Stages
from fuseid.pipelines.store.hash_order import content_hashes

ROWS, DIM = 9_000, 3
WHERE = "external IS NOT NULL"


@pytest.fixture(scope="module")
def items():
    """content_ids and their vectors; the first number of a vector is that of the item."""
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)
    vectors[:, 0] = np.arange(ROWS)
    return {f"item-{number}": row for number, row in enumerate(vectors)}


@pytest.fixture(scope="module")
def workspace(items, make_bare, tmp_path_factory):
    """The same items in `db`, in one commit; and in `pieces`, in other commits, with deleted items in between and items
    without a vector."""
    bare = make_bare(tmp_path_factory.mktemp("fit-rows"))
    large = bare.settings(clip=None, run={"wave_vectors": 100_000})
    bare.ingest_vectors(items, config=large)
    names = [*items]
    np.random.default_rng(1).shuffle(names)
    store = bare.store()
    for number, part in enumerate((names[:2000], names[2000:])):
        more = {f"gone-{number}-{each}": np.ones(DIM, np.float32) for each in range(500)}
        bare.ingest_vectors({**{name: items[name] for name in part}, **more}, "pieces", large)
    store = bare.store("pieces")
    store.dataset("contents").delete("starts_with(content_id, 'gone')")
    bare.ingest_vectors({f"other-{number}": [1.0, 2.0] for number in range(300)}, "pieces", large, name="audio")
    assert len(bare.store("pieces").dataset("contents").get_fragments()) > 1
    return bare


def rows_of(workspace, sample, db="db", **more):
    return FitRows.of(workspace.store(db), sample, Joined({"external": DIM}), WHERE, **more)


def loaded(rows):
    """-> the rows of each block, and what is held out."""
    with LocalFitRunner().blocks(rows, Stages()) as blocks:
        assert blocks.rows == sum(len(blocks.read(number)) for number in range(blocks.count))
        return [blocks.read(number) for number in range(blocks.count)], blocks.held_out()


def numbers(parts):
    return np.concatenate(parts)[:, 0].astype(int)


def hashes_of(numbers):
    return content_hashes(pa.array([f"item-{number}" for number in numbers]))


def test_blocks_are_ranges_of_hashes_in_their_order(workspace, items):
    parts, held_out = loaded(rows_of(workspace, "all"))
    assert len(parts) == 3
    assert len(held_out) == 0
    order = numbers(parts)
    assert np.array_equal(order, np.argsort(hashes_of(range(ROWS))))
    assert np.array_equal(np.concatenate(parts), np.array([items[f"item-{number}"] for number in order]))
    blocks = [number for number, part in enumerate(parts) for _ in part]
    assert blocks == [hash * 3 >> 64 for hash in hashes_of(order).tolist()]


@pytest.mark.parametrize("sample", [ROWS, ROWS + 1, 10**9])
def test_a_sample_of_at_least_all_rows_is_all_rows(workspace, sample):
    assert rows_of(workspace, sample, least_left=9) == rows_of(workspace, "all", least_left=9)


@pytest.mark.parametrize("sample", ["all", ROWS - 1, 5000, 100])
def test_neither_commits_nor_deleted_items_nor_the_parts_that_are_read_make_a_difference(
    workspace, sample, monkeypatch
):
    quiet = loaded(rows_of(workspace, sample, least_left=10))
    monkeypatch.setattr(fit_rows, "_PICKED_PART", 777)
    monkeypatch.setattr(fit_rows, "_MOST_PART", 1100)
    other = rows_of(workspace, sample, "pieces", least_left=10)
    assert other.parts > 6 or sample == 100
    found = loaded(other)
    assert all(np.array_equal(one, same) for one, same in zip(quiet[0], found[0], strict=True))
    assert np.array_equal(quiet[1], found[1])


@pytest.mark.parametrize("sample", [5000, 100])
def test_a_sample_is_the_rows_with_the_lowest_hashes_in_blocks_of_even_size(workspace, sample):
    parts, _ = loaded(rows_of(workspace, sample))
    assert np.array_equal(numbers(parts), np.argsort(hashes_of(range(ROWS)))[:sample])
    assert max(map(len, parts)) < 1.2 * min(map(len, parts))


def test_about_a_tenth_is_held_out(workspace):
    parts, held_out = loaded(rows_of(workspace, "all", least_left=100))
    assert np.array_equal(np.sort([*numbers(parts), *numbers([held_out])]), np.arange(ROWS))
    assert len(held_out) == pytest.approx(ROWS / 10, rel=0.15)


@pytest.mark.parametrize(("least", "held"), [(ROWS - ROWS // 10, True), (ROWS - ROWS // 10 + 1, False)])
def test_nothing_is_held_out_if_too_few_rows_would_be_left(workspace, least, held):
    assert (len(loaded(rows_of(workspace, "all", least_left=least))[1]) > 0) == held


@pytest.mark.parametrize("sample", ["all", 5000])
def test_the_first_ids_are_those_of_the_first_rows(workspace, sample):
    rows = rows_of(workspace, sample, least_left=10)
    order = numbers(loaded(rows)[0])
    assert rows.first_ids(700).to_pylist() == [f"item-{number}" for number in order[:700]]
    assert rows.first_ids(10**6).to_pylist() == [f"item-{number}" for number in order]


def test_items_without_a_vector_are_left_out_and_an_absent_one_is_nan(workspace):
    dims = {"external": DIM, "audio": 2}
    where = "external IS NOT NULL OR audio IS NOT NULL"
    rows = FitRows.of(workspace.store("pieces"), "all", Joined(dims), where)
    vectors = np.concatenate(loaded(rows)[0])
    assert len(vectors) == rows.total == ROWS + 300
    assert np.isnan(vectors[:, :DIM]).all(1).sum() == 300
    assert np.isnan(vectors[:, DIM:]).all(1).sum() == ROWS


def test_a_database_without_a_vector_is_not_ready(workspace):
    with pytest.raises(NotReady, match=r"no item in \S+ has a vector to fit on; `fuseid ingest --db \S+ SOURCE` adds"):
        FitRows.of(workspace.store(), "all", Joined({"external": DIM}), "external IS NULL")


def test_fused_vectors_that_the_store_holds_are_read_where_every_row_has_them(workspace):
    """And are those that fusing again gives."""
    workspace.fit(db="pieces", tokenizer={"codebook_sizes": [4]})
    store = workspace.store("pieces")
    fusion = load_fusion(store)

    def rows():
        return rows_of_tokenizer(store, fusion, "all", codes=4)

    stored = rows()
    assert stored.vectors == Joined({"fused": fusion.dim})
    store.dataset("contents").update({"fused_fp": "NULL"}, "content_id = 'item-7'")
    again = rows()
    assert isinstance(again.vectors, Fused)
    (one, held), (same, also_held) = loaded(stored), loaded(again)
    assert all(np.array_equal(first, second) for first, second in zip(one, same, strict=True))
    assert np.array_equal(held, also_held)
    assert len(held) > 0
