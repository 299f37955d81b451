"""Events with item numbers, on disk in shards of users; events of unknown items are counted and their items listed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.quantiles import quantile
from fuseid.pipelines.sequences.shards import SHARD
from fuseid.pipelines.streams.batches import folded
from fuseid.pipelines.streams.spill import Spill, hash_parts

UNKNOWN_FILE = "unknown_items.parquet"
_UNKNOWN = pa.schema([("content_id", pa.string()), ("events", pa.int64())])
_NAMED = 20
# Each is an open file while events are read.
_MOST_UNKNOWN_PARTS = 64
# How many events are joined at a time; each join builds a hash table of all items.
_JOINED_ROWS = 1 << 19


class Events:
    """count: events read. unknown: events whose item has no ID; they are in no shard."""

    def __init__(
        self,
        batches: Iterable[pa.RecordBatch],
        items: Items,
        kept: pa.Schema,
        scratch: Path,
        shards: int,
        joined_rows: int = _JOINED_ROWS,
    ) -> None:
        """batches: of `Interactions`. joined_rows: events that are joined with the items at a time.

        Raises BadInput if no event's item has an ID.
        """
        self.count = self.unknown = 0
        self.shards = shards
        self._times: list[int] = []
        self._known = Spill(scratch, "events", shards, pa.schema([*SHARD, *kept]))
        self._unknown = Spill(scratch, "unknown", min(shards, _MOST_UNKNOWN_PARTS), _UNKNOWN)
        first = ""
        for rows in folded(batches, joined_rows):
            found = pc.index_in(rows["content_id"], value_set=items.content_ids).combine_chunks()
            first = first or rows["content_id"][0].as_py()
            self.count += len(rows)
            self._spill(rows, found)
        self._known.close()
        self._unknown.close()
        # Other processes, which may run next, need the memory more.
        pa.default_memory_pool().release_unused()
        if self.unknown == self.count:
            raise BadInput(
                f"none of the {self.count} interactions is with an item that has an ID (the first is with {first!r}); "
                "content_id must be as in the database"
            )

    def _spill(self, rows: pa.Table, found: pa.Array) -> None:
        if found.null_count:
            lacking = rows["content_id"].filter(pc.is_null(found))
            counts = pc.value_counts(lacking)
            counted = pa.Table.from_arrays([counts.field("values"), counts.field("counts")], schema=_UNKNOWN)
            self._unknown.write(counted, hash_parts(counted["content_id"], self._unknown.parts))
            self.unknown += len(lacking)
            rows, found = rows.filter(found.is_valid()), found.drop_null()
        if not len(found):
            return
        times = rows["timestamp"].cast(pa.int64())
        extremes = pc.min_max(times).as_py()
        self._times = [min([extremes["min"], *self._times]), max([extremes["max"], *self._times])]
        columns = [rows["user_id"], found, times, *(rows[name] for name in self._known.schema.names[len(SHARD) :])]
        known = pa.Table.from_arrays(columns, schema=self._known.schema)
        self._known.write(known, hash_parts(known["user_id"], self.shards))

    def read(self) -> Iterator[tuple[int, pa.Table]]:
        """(number, events) of every shard that has events."""
        for number in range(self.shards):
            if len(events := self._known.read(number)):
                yield number, events

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last time of an event with a known item, in microseconds."""
        return self._times[0], self._times[1]

    def time_at(self, share: Fraction) -> int:
        """The time of the event before which this share of all events with a known item happened; copies count."""
        low, high = self.span
        return quantile(
            lambda: (np.asarray(events["time"]) for _, events in self.read()),
            share,
            low,
            high,
            self.count - self.unknown,
        )

    def write_unknown(self, folder: Path, named: int = _NAMED) -> dict[str, Any]:
        """Writes `unknown_items.parquet` if there are unknown items -> their entry in the manifest, which names the
        `named` most frequent ones."""
        items = 0
        most: list[tuple[int, str]] = []
        if self.unknown:
            with pq.ParquetWriter(folder / UNKNOWN_FILE, _UNKNOWN, compression="zstd") as writer:
                for part in range(self._unknown.parts):
                    sums = self._unknown.read(part).group_by("content_id").aggregate([("events", "sum")])
                    sums = sums.rename_columns({"events_sum": "events"}).select(_UNKNOWN.names).sort_by("content_id")
                    writer.write_table(sums.cast(_UNKNOWN))
                    items += len(sums)
                    pairs = zip(sums["events"].to_pylist(), sums["content_id"].to_pylist(), strict=True)
                    most = heapq.nsmallest(named, [*most, *((-count, name) for count, name in pairs)])
        most_frequent = [{"content_id": name, "events": -count} for count, name in most]
        return {"items": items, "events": self.unknown, "most_frequent": most_frequent}
