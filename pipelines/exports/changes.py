"""The changes between two snapshots: items that were added, removed or got another ID, and their new numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.pipelines.exports.snapshot import ID_COLUMNS, ITEM_ROWS, ITEMS
from fuseid.pipelines.streams.batches import rebatched

_BOTH = [(f"{side}_{name}", ITEMS.field(name).type) for side in ("old", "new") for name in ID_COLUMNS]
# change: `added`, `removed` or `changed`.
CHANGES = pa.schema([("content_id", pa.string()), ("change", pa.string()), *_BOTH])
# An item's position among the sorted content_ids of an export, from 0 on, by which some formats name it.
NUMBERS = pa.schema([("content_id", pa.string()), ("old_number", pa.int64()), ("new_number", pa.int64())])
CHANGES_FILE, NUMBERS_FILE = "changes.parquet", "numbers.parquet"


def write_changes(
    old: Iterator[pa.RecordBatch], new: Iterator[pa.RecordBatch], folder: Path, numbers: bool
) -> dict[str, int]:
    """Writes `changes.parquet`, in the schema `CHANGES`, and, if asked to, `numbers.parquet`, which maps the numbers of
    all items, in the schema `NUMBERS`; both sorted by content_id. Memory holds a few batches.

    old, new: as from `Snapshot.items`, with sid. Returns how many items were added, removed and changed.
    """
    counts: Counter[str] = Counter(added=0, removed=0, changed=0)

    def changes() -> Iterator[pa.Table]:
        for table in aligned(old, new):
            if numbering is not None:
                numbering.write_table(table.select(NUMBERS.names))
            found = table.filter(table["change"].is_valid()).select(CHANGES.names)
            counts.update(found["change"].to_pylist())
            yield found

    numbering = pq.ParquetWriter(folder / NUMBERS_FILE, NUMBERS, compression="zstd") if numbers else None
    try:
        with pq.ParquetWriter(folder / CHANGES_FILE, CHANGES, compression="zstd") as writer:
            for batch in rebatched(changes(), ITEM_ROWS):
                writer.write_batch(batch)
    finally:
        if numbering is not None:
            numbering.close()
    return dict(counts)


def read_changes(folder: Path) -> Iterator[pa.RecordBatch]:
    """What `write_changes` has written, in batches of `CHANGES`."""
    with pq.ParquetFile(folder / CHANGES_FILE) as file:
        yield from file.iter_batches(ITEM_ROWS)


def aligned(
    old: Iterator[pa.RecordBatch], new: Iterator[pa.RecordBatch], shared: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """The full outer join of two streams that are sorted by content_id, sorted: the columns of `CHANGES`, `change` null
    if nothing changed, both numbers, and `shared`. An ID counts as changed if its text differs, also between
    tokenizers.

    shared: further columns of `ITEMS`, which do not differ between the two.
    """
    schema = pa.schema([ITEMS.field(name) for name in ("content_id", *ID_COLUMNS, *shared)])
    sides = _Side(old, schema), _Side(new, schema)
    while held := [side for side in sides if side.filled()]:
        # All later rows, of both sides, are above the border.
        border = min(side.last() for side in held)
        earlier, later = (side.until(border) for side in sides)
        yield _joined(earlier, later, shared)


class _Side:
    """One stream, and its rows that the other stream has not reached yet."""

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = batches
        self._held = schema.empty_table()
        self._number = 0

    def filled(self) -> bool:
        """Whether there are rows; reads the next ones first if all were taken."""
        while not len(self._held):
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._held = pa.Table.from_batches([batch]).select(self._held.schema.names)
        return True

    def last(self) -> str:
        return self._held["content_id"][-1].as_py()

    def until(self, border: str) -> pa.Table:
        """Removes and returns the rows up to the border, with their numbers."""
        rows = pc.sum(pc.less_equal(self._held["content_id"], border), min_count=0).as_py()
        taken, self._held = self._held.slice(0, rows), self._held.slice(rows)
        first, self._number = self._number, self._number + rows
        return taken.append_column("number", pa.array(np.arange(first, self._number)))


def _joined(old: pa.Table, new: pa.Table, shared: Sequence[str]) -> pa.Table:
    ids = pa.chunked_array([*old["content_id"].chunks, *new["content_id"].chunks], pa.string()).unique()
    ids = ids.take(pc.sort_indices(ids))
    rows = {"old": (old, _rows(ids, old)), "new": (new, _rows(ids, new))}
    columns = {
        f"{side}_{name}": table[name].take(found)
        for side, (table, found) in rows.items()
        for name in (*ID_COLUMNS, "number")
    }
    for name in shared:
        columns[name] = pc.coalesce(*(table[name].take(found) for table, found in rows.values()))
    there = {side: found.is_valid() for side, (_, found) in rows.items()}
    differs = pc.not_equal(columns["old_sid"], columns["new_sid"])
    change = pc.if_else(there["new"], pc.if_else(differs, "changed", pa.scalar(None, pa.string())), "removed")
    change = pc.if_else(there["old"], change, "added")
    return pa.table({"content_id": ids, "change": change, **columns})


def _rows(ids: pa.Array, table: pa.Table) -> pa.Array:
    """int32 [N]: the row of each id, null if it is not in the table."""
    return pc.index_in(ids, value_set=table["content_id"].combine_chunks())
