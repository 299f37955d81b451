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
ROWS_PER_FILE = 1_000_000
GROUPS_PER_FILE = 4
# Columns whose values repeat; looking for repeated values in the others would take most of the writing time.
_DICTIONARIES = ["kind", "codes.list.element", "suffix"]


def write(items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo, rows_per_file: int = ROWS_PER_FILE) -> None:
    """`ids-00000.parquet`, ... in the schema `ITEMS`, sorted by content_id. Memory holds one row group."""
    write_files(chunks(items, info, rows_per_file // GROUPS_PER_FILE), folder, ITEMS, _DICTIONARIES)


def write_files(groups: Iterator[pa.Table], folder: Path, schema: pa.Schema, dictionaries: list[str]) -> None:
    """`ids-00000.parquet`, ... with `GROUPS_PER_FILE` row groups each, at least one file.

    dictionaries: the columns whose values repeat.
    """
    files, group = 0, next(groups, None)
    while group is not None or not files:
        path = folder / f"ids-{files:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=dictionaries) as writer:
            for _ in range(GROUPS_PER_FILE):
                if group is None:
                    break
                writer.write_table(group.select(schema.names).cast(schema))
                group = next(groups, None)
        files += 1
