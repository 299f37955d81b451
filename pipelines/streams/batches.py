"""Streams of Arrow rows, regrouped into fewer, larger pieces or into pieces of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

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


def chunked(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows, each in one piece; the last may have fewer, and no table is empty. Files
    whose layout follows the tables then do not depend on how the rows were grouped before."""
    held: list[pa.RecordBatch] = []
    have = 0
    for batch in batches:
        while have + batch.num_rows >= rows:
            yield pa.Table.from_batches([*held, batch.slice(0, rows - have)]).combine_chunks()
            batch, held, have = batch.slice(rows - have), [], 0
        if batch.num_rows:
            held.append(batch)
            have += batch.num_rows
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def rebatched(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of tables in batches of `rows` rows; the last may have fewer."""
    batches = chain.from_iterable(table.to_batches() for table in tables)
    for table in chunked(batches, rows):
        yield from table.to_batches()
