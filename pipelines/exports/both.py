"""Two tokenizers' IDs of the same items side by side, and which codes of the one became which codes of the other."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.pipelines.exports.changes import aligned
from fuseid.pipelines.exports.columns import codes_of, column, lists_of
from fuseid.pipelines.exports.formats.by_codes import parts_of
from fuseid.pipelines.exports.formats.parquet import GROUPS_PER_FILE, ROWS_PER_FILE, write_files
from fuseid.pipelines.exports.snapshot import ID_COLUMNS, ITEM_ROWS, ITEMS
from fuseid.pipelines.streams.batches import chunked, rebatched
from fuseid.pipelines.streams.spill import Spill
from fuseid.tokenizers.buckets import bucket_ids

NAME = "both"
MAP_FILE = "map.parquet"
# The old columns are null for an item that only the new tokenizer has given an ID, and the other way round.
BOTH = pa.schema(
    [
        ("content_id", pa.string()),
        ("kind", pa.string()),
        *((f"{side}_{name}", ITEMS.field(name).type) for side in ("old", "new") for name in ID_COLUMNS),
    ]
)
_CODES = pa.schema([("old_codes", pa.list_(pa.int32())), ("new_codes", pa.list_(pa.int32()))])
# items: that have these codes under both. split_into: how many new codes the items of these old codes have;
# merged_from: how many old codes the items of these new codes have.
MAP = pa.schema([*_CODES, ("items", pa.int64()), ("split_into", pa.int64()), ("merged_from", pa.int64())])
# Columns whose values repeat.
_DICTIONARIES = ["kind", *(f"{side}_{name}" for side in ("old", "new") for name in ("codes.list.element", "suffix"))]
_PART_ROWS = 1 << 21


@dataclass(frozen=True)
class Sizes:
    """The codebook sizes of both tokenizers, and how many items have an ID of the old one."""

    old: tuple[int, ...]
    new: tuple[int, ...]
    items: int


def write_both(
    old: Iterator[pa.RecordBatch],
    new: Iterator[pa.RecordBatch],
    folder: Path,
    sizes: Sizes,
    *,
    rows_per_file: int = ROWS_PER_FILE,
    part_rows: int = _PART_ROWS,
) -> dict[str, int]:
    """Writes `ids-00000.parquet`, ... in the schema `BOTH`, sorted by content_id, and `map.parquet`, in `MAP`,
    sorted by codes. Memory holds one row group, then the codes of about `part_rows` items; the others are in temporary
    files in `folder`.

    old, new: as from `Snapshot.items`, with kind and sid. Returns counts of items: `same` (the text of the ID is the
    same), `changed`, `only_old` and `only_new` (they have only one of the two IDs); and of codes without suffix:
    `old_codes` and `new_codes` (different ones of items that have both), `split` (old codes that became several) and
    `merged` (new codes that several became).
    """
    counts = Counter(dict.fromkeys(("same", "changed", "only_old", "only_new"), 0))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pairs = _Pairs(Path(scratch), sizes, part_rows)

        def rows() -> Iterator[pa.RecordBatch]:
            for table in aligned(old, new, ("kind",)):
                in_old, in_new = table["old_sid"].is_valid(), table["new_sid"].is_valid()
                both = table.filter(pc.and_(in_old, in_new))
                changed = pc.sum(both["change"].is_valid(), min_count=0).as_py()
                found = {"same": len(both) - changed, "changed": changed}
                found["only_old"] = pc.sum(pc.invert(in_new), min_count=0).as_py()
                found["only_new"] = pc.sum(pc.invert(in_old), min_count=0).as_py()
                counts.update(found)
                pairs.add(both)
                yield from table.select(BOTH.names).to_batches()

        write_files(chunked(rows(), rows_per_file // GROUPS_PER_FILE), folder, BOTH, _DICTIONARIES)
        with pq.ParquetWriter(folder / MAP_FILE, MAP, compression="zstd") as writer:
            for batch in rebatched(pairs.mapped(), ITEM_ROWS):
                writer.write_batch(batch)
    return {**counts, **pairs.counts}


class _Pairs:
    """The old and the new codes of items, in parts: first by the new codes, then by the old ones."""

    def __init__(self, scratch: Path, sizes: Sizes, part_rows: int) -> None:
        self._sizes = sizes
        self._parts = max(1, -(-sizes.items // part_rows))
        self._by_new = Spill(scratch, "new", self._parts, _CODES)
        self._by_old = Spill(scratch, "old", self._parts, MAP)
        self.counts = dict.fromkeys(("old_codes", "new_codes", "split", "merged"), 0)

    def add(self, items: pa.Table) -> None:
        rows = items.select(_CODES.names).cast(_CODES)
        self._by_new.write(rows, parts_of(self._codes(rows, "new"), self._sizes.new, self._parts))

    def mapped(self) -> Iterator[pa.Table]:
        """Tables of `MAP`, each sorted and above those before it."""
        self._by_new.close()
        for table in _filled(self._by_new):
            counted = self._counted(table)
            self._by_old.write(counted, parts_of(self._codes(counted, "old"), self._sizes.old, self._parts))
        self._by_old.close()
        for table in _filled(self._by_old):
            yield self._ordered(table)

    def _counted(self, table: pa.Table) -> pa.Table:
        """One row for each pair of codes, in which split_into is still 0. The part has all items of its new codes."""
        old_NL, new_NL = self._codes(table, "old"), self._codes(table, "new")
        old_N, _ = bucket_ids(old_NL)
        new_N, some_new = bucket_ids(new_NL)
        _, first_P, items_P = np.unique(new_N * (old_N.max() + 1) + old_N, return_index=True, return_counts=True)
        merged_G = np.bincount(new_N[first_P])
        self.counts["new_codes"] += len(some_new)
        self.counts["merged"] += int((merged_G > 1).sum())
        columns = [lists_of(old_NL[first_P]), lists_of(new_NL[first_P]), items_P]
        return pa.table([*columns, np.zeros(len(first_P), np.int64), merged_G[new_N[first_P]]], schema=MAP)

    def _ordered(self, table: pa.Table) -> pa.Table:
        """The same rows, sorted, with split_into. The part has all pairs of its old codes."""
        old_NL, new_NL = self._codes(table, "old"), self._codes(table, "new")
        old_N, some_old = bucket_ids(old_NL)
        split_G = np.bincount(old_N)
        self.counts["old_codes"] += len(some_old)
        self.counts["split"] += int((split_G > 1).sum())
        order = np.lexsort((*new_NL.T[::-1], old_N))
        columns = [lists_of(old_NL[order]), lists_of(new_NL[order]), column(table, "items").take(pa.array(order))]
        return pa.table(
            [*columns, split_G[old_N[order]], column(table, "merged_from").take(pa.array(order))], schema=MAP
        )

    def _codes(self, table: pa.Table, side: str) -> np.ndarray:
        return codes_of(column(table, f"{side}_codes"), self._sizes.old if side == "old" else self._sizes.new)


def _filled(spill: Spill) -> Iterable[pa.Table]:
    return (table for table in map(spill.read, range(spill.parts)) if len(table))
