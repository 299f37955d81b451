"""Streams of Arrow rows, regrouped into fewer, larger pieces or into pieces of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa


def folded(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of at least `rows` rows; only the last table may have fewer."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        if batch.num_rows:
            held.append(batch)
            count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(held)
            held, count = [], 0
    if held:
        yield pa.Table.from_batches(held)


def rebatched(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows` rows; only the last batch may have fewer. Files whose layout follows the
    batches then do not depend on how the rows were grouped before."""
    held = schema.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        whole = len(held) // rows * rows
        for start in range(0, whole, rows):
            yield from held.slice(start, rows).combine_chunks().to_batches()
        held = held.slice(whole)
    if len(held):
        yield from held.combine_chunks().to_batches()
