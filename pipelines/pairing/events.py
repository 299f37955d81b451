"""Events with item numbers, on disk in shards of users, without those that are too late or of unknown items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.engagement.numbering import Numbering
from fuseid.pipelines.sequences.shards import SHARD
from fuseid.pipelines.streams.batches import folded
from fuseid.pipelines.streams.spill import Spill, hash_parts

# How many events are numbered at a time; each time makes a hash table of all items.
_NUMBERED_ROWS = 1 << 19


class EventFiles:
    """count: events read. later: those at or after the limit; unknown: those of items without a number. The others are
    in the shards; first, last: the times of the oldest and the newest of them, in microseconds. events_of: int64, how
    many of them each item has, by its number."""

    def __init__(
        self,
        batches: Iterable[pa.RecordBatch],
        numbering: Numbering,
        until: int | None,
        scratch: Path,
        shards: int,
        rows: int = _NUMBERED_ROWS,
    ) -> None:
        """batches: of `Interactions`. until: microseconds. rows: events that are numbered at a time."""
        self.count = self.later = self.unknown = 0
        self.first: int | None = None
        self.last: int | None = None
        self.shards = shards
        # Of each number.
        self.events_of = np.zeros(0, np.int64)
        self._files = Spill(scratch, "events", shards, SHARD)
        for table in folded(batches, rows):
            self.count += len(table)
            times = table["timestamp"].cast(pa.int64())
            if until is not None:
                early = pc.less(times, until)
                table, times = table.filter(early), times.filter(early)
                self.later += early.length() - len(table)
            numbers = numbering.of(table["content_id"])
            if (numbers < 0).any():
                known = pa.array(numbers >= 0)
                self.unknown += len(numbers)
                table, times, numbers = table.filter(known), times.filter(known), numbers[numbers >= 0]
                self.unknown -= len(numbers)
            if len(numbers):
                counts = np.bincount(numbers, minlength=len(numbering))
                counts[: len(self.events_of)] += self.events_of
                self.events_of = counts
                self._write(table["user_id"], numbers, times)
        self._files.close()
        # Other processes, which may run next, need the memory more.
        pa.default_memory_pool().release_unused()

    @property
    def kept(self) -> int:
        return self.count - self.later - self.unknown

    def read(self) -> Iterator[pa.Table]:
        """The events of every shard that has some."""
        for number in range(self.shards):
            if len(events := self._files.read(number)):
                yield events

    def _write(self, users: pa.ChunkedArray, numbers: np.ndarray, times: pa.ChunkedArray) -> None:
        extremes = pc.min_max(times).as_py()
        self.first = min(extremes["min"], extremes["min"] if self.first is None else self.first)
        self.last = max(extremes["max"], extremes["max"] if self.last is None else self.last)
        rows = pa.Table.from_arrays([users, pa.array(numbers), times], schema=SHARD)
        self._files.write(rows, hash_parts(users, self.shards))
