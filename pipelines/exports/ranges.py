"""Rows of a table in ranges of content_id, on disk if there is more than one range: for a sort and a join whose memory
does not grow with the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.streams.batches import folded
from fuseid.pipelines.streams.spill import Spill

_SAMPLES_PER_RANGE = 256
# How many rows are divided into ranges at a time.
_SPLIT_ROWS = 1 << 17
# The most ranges, each of which is an open file; beyond it ranges become larger.
_MOST_RANGES = 256
# The rows of a range are computed from the size of the first rows; later rows may be many times larger.
_MOST_ROWS = 1 << 19
SCAN_ROWS = 1 << 15


def borders(dataset: lance.LanceDataset, where: str | None, rows: int, rows_per_range: int) -> pa.Array:
    """Where all ranges except the first begin, ascending: quantiles of a sample of the content_ids that match `where`.

    rows: how many match.
    """
    ranges = min(-(-rows // rows_per_range), _MOST_RANGES)
    if ranges <= 1:
        return pa.array([], pa.string())
    step = max(1, rows // (ranges * _SAMPLES_PER_RANGE))
    sample: list[str] = []
    skip = 0
    for batch in dataset.to_batches(columns=["content_id"], filter=where, batch_size=SCAN_ROWS):
        sample += batch["content_id"].take(pa.array(range(skip, batch.num_rows, step), pa.int64())).to_pylist()
        skip = (skip - batch.num_rows) % step
    sample.sort()
    return pa.array(sorted({sample[i * len(sample) // ranges] for i in range(1, ranges)}), pa.string())


class Ranges:
    """Batches with a column content_id, by range: range i has content_ids from border i - 1 up to below border i."""

    def __init__(self, batches: pa.RecordBatchReader, borders: pa.Array, scratch: Path, name: str) -> None:
        """Reads all batches. name: of the files in `scratch`, one for each range."""
        self.count = len(borders) + 1
        self.borders = borders
        self._held: pa.Table | None = None
        if self.count == 1:
            self._held = batches.read_all()
        else:
            self._spill = Spill(scratch, name, self.count, batches.schema)
            for table in folded(batches, _SPLIT_ROWS):
                self._spill.write(table, self._numbers(table["content_id"].combine_chunks()))
            self._spill.close()

    @classmethod
    def of_bytes(
        cls,
        batches: pa.RecordBatchReader,
        find: Callable[[int], pa.Array],
        most: int,
        scratch: Path,
        name: str,
        most_rows: int = _MOST_ROWS,
    ) -> Ranges:
        """One range in memory if all rows have at most `most` bytes; else ranges of about `most` bytes each, estimated
        from the first rows.

        find: returns the borders of ranges of a number of rows.
        """
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            held.append(batch)
            size += batch.nbytes
            if size > most:
                rows = sum(batch.num_rows for batch in held) * most // size
                borders = find(min(max(1, rows), most_rows))
                break
        else:
            borders = pa.array([], pa.string())
        return cls(pa.RecordBatchReader.from_batches(batches.schema, chain(held, batches)), borders, scratch, name)

    def read(self, number: int) -> pa.Table:
        """The rows of a range, in the order in which they were written; files are memory-mapped."""
        return self._spill.read(number) if self._held is None else self._held

    def _numbers(self, content_ids: pa.Array) -> np.ndarray:
        """uint16 [N]: how many borders are at or below each content_id, by a binary search for all at once."""
        found = np.zeros(len(content_ids), np.int64)
        step = 1 << (len(self.borders).bit_length() - 1)
        while step:
            tried = found + step
            border = self.borders.take(pa.array(np.minimum(tried, len(self.borders)) - 1))
            above = pc.greater_equal(content_ids, border).to_numpy(zero_copy_only=False)
            found = np.where(above & (tried <= len(self.borders)), tried, found)
            step >>= 1
        return found.astype(np.uint16)
