"""fuseid's own format: Parquet files of a million items each, with all parts of an ID, for any reader of Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import ExportInfo, chunks
from fuseid.pipelines.exports.snapshot import ITEMS

NAME = "parquet"
COLLISIONS = (
    "`suffix` holds the digit, null for the bare ID, and `sid` ends in it. Items that share an ID have one sid."
)
EXTRA: tuple[str, ...] = ("kind", "sid")
SORTED = True
_ROWS_PER_FILE = 1_000_000
_GROUPS_PER_FILE = 4
# Columns whose values repeat; looking for repeated values in the others would take most of the writing time.
_DICTIONARIES = ["kind", "codes.list.element", "suffix"]


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo, rows_per_file: int = _ROWS_PER_FILE) -> None:
    """`ids-00000.parquet`, ... in the schema `ITEMS`, sorted by content_id. Memory holds one row group."""
    groups = chunks(items, info, rows=rows_per_file // _GROUPS_PER_FILE)
    for number in range(max(1, -(-info.items // rows_per_file))):
        path = folder / f"ids-{number:05d}.parquet"
        with pq.ParquetWriter(path, ITEMS, compression="zstd", use_dictionary=_DICTIONARIES) as writer:
            for _, group in zip(range(_GROUPS_PER_FILE), groups, strict=False):
                writer.write_table(group.select(ITEMS.names).cast(ITEMS))
    # No group is left, or `chunks` says how many items too many there are.
    for _ in groups:
        pass
