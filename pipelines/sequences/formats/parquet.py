"""fuseid's own format: one row per example, with its history and target as content_ids and as codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import lists_of
from fuseid.pipelines.sequences.clock import UTC_TIME
from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items

NAME = "parquet"
TRAIN = "prefix"
EXTRA: tuple[str, ...] = ()
titles = None
EXAMPLES = pa.schema(
    [
        ("user_id", pa.string()),
        ("split", pa.string()),
        ("items", pa.list_(pa.string())),
        ("codes", pa.list_(pa.list_(pa.int32()))),
        ("timestamps", pa.list_(UTC_TIME)),
        ("target", pa.string()),
        ("target_codes", pa.list_(pa.int32())),
        ("target_timestamp", UTC_TIME),
    ]
)
RESERVED = tuple(EXAMPLES.names)


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`part-00000.parquet`, with one row group per chunk, so that each group belongs to one split."""
    writer = None
    for examples in chunks:
        table = _table(examples, items)
        if writer is None:
            writer = pq.ParquetWriter(
                folder / f"part-{shard:05d}.parquet",
                table.schema,
                compression="zstd",
                use_dictionary=_few(table.schema),
            )
        writer.write_table(table, row_group_size=len(examples))
    if writer is not None:
        writer.close()


def finish(folder: Path, items: Items) -> None:
    """Nothing to do."""


def _few(schema: pa.Schema) -> list[str]:
    """Columns that are written with a dictionary. Not those of histories: a history repeats most of the one before it,
    and plain values compress to half the size of a dictionary's bit-packed indexes. Times rarely repeat otherwise."""
    flat = [field.name for field in schema if not (pa.types.is_nested(field.type) or pa.types.is_temporal(field.type))]
    return [*flat, "target_codes.list.element"]


def _table(examples: Examples, items: Items) -> pa.Table:
    offsets = pa.array(examples.offsets_E, pa.int32())
    columns = [
        examples.user_ids,
        pa.repeat(examples.split, len(examples)),
        pa.ListArray.from_arrays(offsets, items.content_ids.take(pa.array(examples.item_H))),
        pa.ListArray.from_arrays(offsets, lists_of(np.take(items.codes_NM, examples.item_H, axis=0))),
        pa.ListArray.from_arrays(offsets, pa.array(examples.time_H).cast(UTC_TIME)),
        items.content_ids.take(pa.array(examples.target_E)),
        lists_of(np.take(items.codes_NM, examples.target_E, axis=0)),
        pa.array(examples.target_time_E).cast(UTC_TIME),
        *examples.kept.columns,
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema([*EXAMPLES, *examples.kept.schema]))
