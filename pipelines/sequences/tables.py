"""Tables of examples as a Parquet file, for formats that are tables of interactions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_tables(tables: Iterable[pa.Table], path: Path) -> None:
    """Writes tables of one schema, each as a row group; without a table there is no file."""
    writer = None
    for table in tables:
        if writer is None:
            path.parent.mkdir(exist_ok=True)
            writer = pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=max(1, len(table)))
    if writer is not None:
        writer.close()
