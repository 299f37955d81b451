"""Rows in parts on disk: each row in one part by the hash of its key, in order."""

from __future__ import annotations

import zlib

import pyarrow as pa
import pytest

from fuseid.pipelines.streams.spill import Spill, hash_parts


@pytest.mark.parametrize("most_open", [1, 2, 256])
def test_parts_hold_each_row_once_in_order_by_the_hash_of_its_key(tmp_path, most_open):
    schema = pa.schema([("key", pa.string()), ("row", pa.int64())])
    keys = [f"k{number * 7 % 31}" for number in range(100)]
    spill = Spill(tmp_path, "rows", 5, schema, most_open)
    for start in range(0, 100, 30):
        at = slice(start, start + 30)
        rows = pa.table([keys[at], list(range(100))[at]], schema=schema)
        spill.write(rows, hash_parts(rows["key"], 5))
    spill.close()
    parts = [spill.read(part).to_pylist() for part in range(5)]
    assert parts == [[row for batch in spill.batches(part) for row in batch.to_pylist()] for part in range(5)]
    assert sorted(row["row"] for part in parts for row in part) == list(range(100))
    for number, part in enumerate(parts):
        assert all(zlib.crc32(row["key"].encode()) % 5 == number for row in part)
        assert [row["row"] for row in part] == sorted(row["row"] for row in part)
