"""The format of RecTools: a table of interactions, from which `rectools.dataset.Dataset.construct` makes a data set.

rectools/columns.py names the columns; rectools/dataset/interactions.py makes `weight` a number and `datetime` a time
without a zone. Its models make sequences of interactions themselves, by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import EVENTS
from fuseid.pipelines.sequences.tables import write_tables

NAME = "rectools"
TRAIN = EVENTS
EXTRA: tuple[str, ...] = ()
titles = None
RESERVED = ("item_id", "datetime", "split")
FOLDER = "interactions.parquet"
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("weight", pa.float64()),
        ("datetime", pa.timestamp("us")),
        ("split", pa.string()),
    ]
)


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`interactions.parquet/part-00000.parquet`, in whose rows item_id is the content_id, `weight` the kept column of
    this name, 1 if it is missing, and `datetime` in UTC; other kept columns follow."""
    write_tables((_table(examples, items) for examples in chunks), folder / FOLDER / f"part-{shard:05d}.parquet")


def finish(folder: Path, items: Items) -> None:
    """Nothing to do."""


def _table(examples: Examples, items: Items) -> pa.Table:
    kept = examples.kept
    weights = pa.chunked_array([np.ones(len(examples))])
    if "weight" in kept.column_names:
        weights = pc.fill_null(kept["weight"], 1.0)
        kept = kept.drop_columns(["weight"])
    columns = [
        examples.user_ids,
        items.content_ids.take(pa.array(examples.target_E)),
        weights,
        pa.array(examples.target_time_E).cast(pa.timestamp("us")),
        pa.repeat(examples.split, len(examples)),
        *kept.columns,
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema([*_SCHEMA, *kept.schema]))
