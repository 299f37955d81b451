"""Our own form: Parquet files of a million items each, with all that an ID is, for any reader of Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import IDS, ExportInfo, chunks, digits_of, matrix
from fuseid.pipelines.exports.formats.base import ids_table, readable
from fuseid.pipelines.exports.snapshot import ITEMS

NAME = "parquet"
COLLISIONS = (
    "`suffix` holds the digit, null for the bare ID, and `sid` ends in it. Items that share an ID have one sid."
)
EXTRA: tuple[str, ...] = ("kind", "sid")
SORTED = True
ROWS_PER_FILE = 1_000_000
_GROUPS_PER_FILE = 4
# Of columns whose values repeat; looking for repeats in others is most of the time that writing takes.
_DICTIONARIES = ["kind", "codes.list.element", "suffix"]


def write(items: Iterator[pa.RecordBatch], folder: Path, about: ExportInfo) -> None:
    """`ids-00000.parquet`, ... in the schema `ITEMS`, sorted by content_id. Memory holds one row group."""
    groups = chunks(items, about, rows=ROWS_PER_FILE // _GROUPS_PER_FILE)
    for number in range(max(1, -(-about.items // ROWS_PER_FILE))):
        path = folder / f"ids-{number:05d}.parquet"
        with pq.ParquetWriter(path, ITEMS, compression="zstd", use_dictionary=_DICTIONARIES) as writer:
            for _, group in zip(range(_GROUPS_PER_FILE), groups, strict=False):
                writer.write_table(group.select(ITEMS.names).cast(ITEMS))
    # No group is left, or `chunks` says how many items too many there are.
    for _ in groups:
        pass


def read(folder: Path) -> pa.Table:
    """Raises BadInput where there are no such files, or others of this name."""
    with readable(folder, "an export of the format parquet"):
        paths = sorted(folder.glob("ids-*.parquet"))
        if not paths:
            raise FileNotFoundError("it holds no ids-00000.parquet")
        table = pa.concat_tables(_rows(path) for path in paths).combine_chunks()
        lists = table["codes"].combine_chunks()
        levels = len(next(chain(lists.slice(0, 1).to_pylist(), [[0]])))
        digits_N = digits_of(table["suffix"].combine_chunks())
        return ids_table(table["content_id"].combine_chunks(), matrix(lists, levels), digits_N)


def _rows(path: Path) -> pa.Table:
    return pq.ParquetFile(path).read(IDS.names).select(IDS.names).cast(IDS)
