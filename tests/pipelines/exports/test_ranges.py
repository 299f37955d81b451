"""Ranges of rows: each row in one, ranges in order, and on disk only where they are more than one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.exports.ranges import Ranges

ROWS = 500


@pytest.fixture
def rows() -> pa.Table:
    numbers = np.random.default_rng(1).permutation(ROWS)
    return pa.table({"content_id": [f"{number:03d}" for number in numbers], "number": numbers})


def borders(rows_per_range: int) -> pa.Array:
    return pa.array([f"{start:03d}" for start in range(rows_per_range, ROWS, rows_per_range)])


@pytest.mark.parametrize("share", [1, 2, 7, 100])
def test_rows_of_too_many_bytes_lie_in_ranges_of_about_as_many_as_are_allowed(rows, share, tmp_path):
    reader = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(max_chunksize=30))
    ranges = Ranges.of_bytes(reader, borders, rows.nbytes // share, tmp_path, "rows")
    parts = [ranges.read(number) for number in range(ranges.count)]
    assert sorted(pa.concat_tables(parts)["number"].to_pylist()) == list(range(ROWS))
    ends = [(min(part["content_id"].to_pylist()), max(part["content_id"].to_pylist())) for part in parts]
    assert all(last < first for (_, last), (first, _) in pairwise(ends))
    assert share <= ranges.count <= 1.5 * share
    assert max(map(len, parts)) <= -(-ROWS // share)
    assert bool(list(tmp_path.iterdir())) == (share > 1)


def test_large_rows_behind_many_small_ones_make_no_range_of_more_rows_than_the_most(rows, tmp_path):
    """By the bytes of the first ones a range would have some 200 rows, and 100 KB of captions."""
    captions = [""] * 300 + ["c" * 1000] * 200
    reader = pa.RecordBatchReader.from_batches(
        pa.schema([("content_id", pa.string()), ("caption", pa.string())]),
        pa.table({"content_id": rows["content_id"], "caption": captions}).to_batches(max_chunksize=30),
    )
    ranges = Ranges.of_bytes(reader, borders, 2200, tmp_path, "rows", most_rows=30)
    parts = [ranges.read(number) for number in range(ranges.count)]
    assert sum(map(len, parts)) == ROWS
    assert max(map(len, parts)) == 30


def test_no_rows_are_one_empty_range(rows, tmp_path):
    reader = pa.RecordBatchReader.from_batches(rows.schema, [])
    ranges = Ranges.of_bytes(reader, lambda _: pa.array([], pa.string()), 1, tmp_path, "rows")
    assert (ranges.count, len(ranges.read(0)), ranges.read(0).schema) == (1, 0, rows.schema)
