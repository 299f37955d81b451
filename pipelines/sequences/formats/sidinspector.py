"""The format of SIDInspector (SIDScope): its table `interactions`, whose item_id is that of `export ids`.

sidinspector/metrics.py casts item_id to integers, and counts co-occurrence and popularity in the rows whose `split` is
`train`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from fuseid.pipelines.sequences.clock import UTC_TIME
from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import EVENTS
from fuseid.pipelines.sequences.tables import write_tables

NAME = "sidinspector"
TRAIN = EVENTS
EXTRA: tuple[str, ...] = ()
titles = None
RESERVED = ("item_id", "split")
FOLDER = "interactions.parquet"
_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.int64()), ("timestamp", UTC_TIME), ("split", pa.string())]
)


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`interactions.parquet/part-00000.parquet`, a folder that pandas reads like a file; item_id is the item's number.
    Kept columns follow."""
    write_tables((_table(examples) for examples in chunks), folder / FOLDER / f"part-{shard:05d}.parquet")


def finish(folder: Path, items: Items) -> None:
    """`items.parquet`, the number and the content_id of every item that has an ID."""
    items.write_numbers(folder)


def _table(examples: Examples) -> pa.Table:
    columns = [
        examples.user_ids,
        pa.array(examples.target_E.astype("int64")),
        pa.array(examples.target_time_E).cast(UTC_TIME),
        pa.repeat(examples.split, len(examples)),
        *examples.kept.columns,
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema([*_SCHEMA, *examples.kept.schema]))
