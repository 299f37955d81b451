"""Sorts items by their codes, for formats that are sorted or grouped by ID; in parts, to bound the memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import IDS, ExportInfo, chunks, codes_of, column, ids_of
from fuseid.pipelines.exports.order import order_of, settle_ties
from fuseid.pipelines.streams.spill import Spill

_PART_ROWS = 1 << 21


@dataclass(frozen=True)
class Part:
    """content_ids [N]; ids int32 [N, L + 1]: codes, then the digit."""

    content_ids: pa.Array
    ids_NM: np.ndarray

    @property
    def codes_NL(self) -> np.ndarray:
        return self.ids_NM[:, :-1]

    @property
    def digits_N(self) -> np.ndarray:
        return self.ids_NM[:, -1]


def by_codes(
    items: Iterable[pa.RecordBatch], folder: Path, info: ExportInfo, part_rows: int = _PART_ROWS
) -> Iterator[Part]:
    """Items in any order -> sorted by codes, then digit, then content_id; items of equal codes are in one part.

    A part is a range of the first two codes. All ranges are equally wide, so a part has about `part_rows` items, or
    more if many items share these codes. Memory holds one part; others are in temporary files in `folder`.
    """
    count = max(1, -(-info.items // part_rows))
    tables = (chunk.select(IDS.names) for chunk in chunks(items, info))
    if count == 1:
        if held := list(tables):
            yield _sorted(pa.concat_tables(held), info)
        return
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        parts = Spill(Path(directory), "part", count, IDS)
        for table in tables:
            codes_NL = codes_of(column(table, "codes"), info.codebook_sizes)
            parts.write(table.cast(IDS), parts_of(codes_NL, info.codebook_sizes, count))
        parts.close()
        for number in range(count):
            if len(table := parts.read(number)):
                yield _sorted(table, info)


def parts_of(codes_NL: np.ndarray, sizes: tuple[int, ...], count: int) -> np.ndarray:
    """uint16 [N]: the part of each item, one of `count` equally wide ranges of the first two codes."""
    first, second = (*sizes, 1)[:2]
    key_N = codes_NL[:, 0].astype(np.int64) * second + (codes_NL[:, 1] if len(sizes) > 1 else 0)
    return (key_N * count // (first * second)).astype(np.uint16)


def _sorted(table: pa.Table, info: ExportInfo) -> Part:
    ids_NM, content_ids = ids_of(table, info.codebook_sizes), column(table, "content_id")
    if (largest := ids_NM[:, -1].max(initial=0)) > info.largest_suffix:
        raise ValueError(f"suffixes up to {info.largest_suffix} were announced, {largest} came")
    order = _order(ids_NM, (*info.codebook_sizes, info.largest_suffix + 1), content_ids)
    return Part(content_ids.take(pa.array(order)), ids_NM.take(order, axis=0))


def _order(ids_NM: np.ndarray, sizes: tuple[int, ...], content_ids: pa.Array) -> np.ndarray:
    """int64 [N]: the rows in sorted order, rows of equal ids by their content_id."""
    keys, rows = _keys(ids_NM, sizes), len(ids_NM)
    bits = rows.bit_length()
    if len(keys) > 1 or prod(sizes) << bits >= 1 << 63:
        order = np.lexsort(keys)
        same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    else:
        # Sorting numbers that contain their row is several times faster than sorting rows by number.
        carried = (keys[0] << bits) | np.arange(rows)
        carried.sort()
        order = carried & ((1 << bits) - 1)
        same = np.diff(carried >> bits) == 0
    settle_ties(order, same, lambda rows: order_of(content_ids.take(pa.array(rows))))
    return order


def _keys(digits_NM: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """All columns in as few int64 keys as possible, the least significant first, as `np.lexsort` takes them."""
    keys: list[np.ndarray] = []
    room = 0
    for values, size in zip(digits_NM.T[::-1], sizes[::-1], strict=True):
        if keys and room * size < 1 << 63:
            keys[-1] = keys[-1] + values.astype(np.int64) * room
            room *= size
        else:
            keys.append(values.astype(np.int64))
            room = size
    return keys
