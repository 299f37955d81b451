"""Events in shards on disk, with unknown items counted, named and left out."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.events import UNKNOWN_FILE, Events
from fuseid.pipelines.sequences.interactions import EVENTS


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
