"""What lies on disk: parts by hash, exact quantiles, and unknown items counted."""

from __future__ import annotations

import zlib
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences import quantiles
from fuseid.pipelines.sequences.events import UNKNOWN_FILE, Events
from fuseid.pipelines.sequences.interactions import EVENTS
from fuseid.pipelines.streams.spill import Spill, hash_parts

TIMES = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values=st.one_of(TIMES, st.lists(st.integers(0, 5), min_size=1)), share=st.fractions(0, 1, max_denominator=50))
def test_quantiles_are_exact(values, share):
    parts = [np.array(values[i::3], np.int64) for i in range(3)]
    found = quantiles.quantile(lambda: parts, share, min(values), max(values), len(values))
    assert found == sorted(values)[min(int(share * len(values)), len(values) - 1)]


def test_parts_hold_each_row_once_in_order_by_the_hash_of_its_key(tmp_path):
    schema = pa.schema([("key", pa.string()), ("row", pa.int64())])
    keys = [f"k{number * 7 % 31}" for number in range(100)]
    spill = Spill(tmp_path, "rows", 5, schema)
    for start in range(0, 100, 30):
        at = slice(start, start + 30)
        rows = pa.table([keys[at], list(range(100))[at]], schema=schema)
        spill.write(rows, hash_parts(rows["key"], 5))
    spill.close()
    parts = [spill.read(part).to_pylist() for part in range(5)]
    assert sorted(row["row"] for part in parts for row in part) == list(range(100))
    for number, part in enumerate(parts):
        assert all(zlib.crc32(row["key"].encode()) % 5 == number for row in part)
        assert [row["row"] for row in part] == sorted(row["row"] for row in part)


def batch(content_ids: list[str]) -> pa.RecordBatch:
    times = pa.array(range(len(content_ids)), pa.int64()).cast(EVENTS.field("timestamp").type)
    return pa.record_batch([[f"u{i}" for i in range(len(content_ids))], content_ids, times], schema=EVENTS)


def test_unknown_items_are_counted_named_and_in_no_shard(items, tmp_path):
    batches = [batch(["c1", "x", "y", "c3", "x"]), batch(["z", "x", "y", "c0"])]
    events = Events(batches, items, pa.schema([]), tmp_path, shards=3, joined_rows=3)
    assert (events.count, events.unknown) == (9, 6)
    assert sorted(number for _, shard in events.read() for number in shard["item"].to_pylist()) == [0, 1, 3]
    assert events.span == (0, 3)
    assert events.time_at(Fraction(2, 3)) == 3
    named = [{"content_id": "x", "events": 3}, {"content_id": "y", "events": 2}]
    assert events.write_unknown(tmp_path, named=2) == {"items": 3, "events": 6, "most_frequent": named}
    written = pq.read_table(tmp_path / UNKNOWN_FILE).to_pylist()
    assert {row["content_id"]: row["events"] for row in written} == {"x": 3, "y": 2, "z": 1}


def test_without_unknown_items_there_is_no_file_of_them(items, tmp_path):
    events = Events([batch(["c1"])], items, pa.schema([]), tmp_path, shards=1)
    assert events.write_unknown(tmp_path) == {"items": 0, "events": 0, "most_frequent": []}
    assert not (tmp_path / UNKNOWN_FILE).exists()


def test_interactions_with_no_item_of_the_database_are_refused(items, tmp_path):
    with pytest.raises(
        BadInput, match=r"none of the 2 interactions is with an item that has an ID \(the first is with 'x'\)"
    ):
        Events([batch(["x", "y"])], items, pa.schema([]), tmp_path, shards=2)
