"""The rows that a learned fusion reads are those of its pairs and a sample, and each pair names the right two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.core.row_blocks import rows_per_block
from fuseid.pipelines.assignment.fit_blocks import LocalFitRunner
from fuseid.pipelines.assignment.paired_rows import PairedRows
from fuseid.pipelines.engagement.pairs_file import Pairs, read_pairs
from fuseid.pipelines.jobs.progress import Lines
from fuseid.pipelines.store.store import Store

ROWS, DIM = 6_000, 3


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_bare) -> Store:
    """Item n has the vector (n, 1, 0); some have none of this name."""
    made = make_bare(tmp_path_factory.mktemp("paired"))
    made.ingest_vectors(
        {f"i{n:04d}": np.array([n, 1, 0], np.float32) for n in range(ROWS)},
        config=made.settings(clip=None, run={"wave_vectors": 2_000}),
    )
    made.ingest_vectors(made.parquet({"mute": [1.0, 2.0]}), name="audio")
    return made.store()


def pairs_of(tmp_path: Path, rows: list[tuple[str, str]], weights: list[float] | None = None) -> Pairs:
    columns = {"content_id": [one for one, _ in rows], "partner_id": [other for _, other in rows]}
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.table(columns | ({} if weights is None else {"weight": weights})), path)
    return read_pairs(path)


def test_each_pair_names_the_rows_of_its_items(store, tmp_path):
    rng = np.random.default_rng(0)
    ends = rng.permutation(ROWS)[:5_000].reshape(-1, 2)
    given = pairs_of(tmp_path, [(f"i{a:04d}", f"i{b:04d}") for a, b in ends], rng.random(len(ends)).tolist())
    found = PairedRows.of(store, given, {"external": DIM}, sample=100)
    assert found.known.unknown == 0
    assert len(found.pairs) == len(given)
    assert len(given.content_ids) < found.rows.total <= len(given.content_ids) + 100
    with LocalFitRunner().blocks(found.rows, Lines()) as blocks:
        assert blocks.count == 2 > found.rows.total / rows_per_block(found.rows.total)
        names = np.array([int(text[1:]) for text in given.content_ids.to_pylist()])
        for end, expected in zip(found.pairs.T, (given.first_P, given.second_P), strict=True):
            assert np.array_equal(blocks.take(end)[:, 0], names[expected])
    assert np.array_equal(found.weights, given.weight_P)


def test_hashes_of_pairs_do_not_depend_on_the_other_pairs(store, tmp_path):
    few, more = (
        PairedRows.of(store, pairs_of(tmp_path, rows), {"external": DIM}, sample=5)
        for rows in ([("i0001", "i0002")], [("i0000", "i0003"), ("i0002", "i0001")])
    )
    assert few.hashes[0] in more.hashes
    assert len(set(more.hashes.tolist())) == 2


def test_pairs_of_unknown_items_and_of_items_without_a_vector_are_left_out(store, tmp_path):
    rows = [("i0001", "i0002"), ("i0001", "nobody"), ("mute", "i0002"), ("ghost", "mute")]
    found = PairedRows.of(store, pairs_of(tmp_path, rows), {"external": DIM}, sample=5)
    assert len(found.pairs) == 1
    assert (found.known.unknown, set(found.known.examples)) == (3, {"nobody", "mute", "ghost"})
    assert "3 ids of pairs" in str(found.known.note())


def test_without_a_pair_of_known_items_nothing_can_be_learned(store, tmp_path):
    with pytest.raises(BadInput, match=r"both items of no pair: 1 of 2 ids .*such as 'nobody'"):
        PairedRows.of(store, pairs_of(tmp_path, [("i0001", "nobody")]), {"external": DIM}, sample=5)
