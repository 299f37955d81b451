"""Items in the order of their codes, for formats that are sorted or grouped by ID; in parts, for bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import IDS, ExportInfo, chunks, codes_of, column, digits_of
from fuseid.pipelines.exports.order import order_of, settle_ties

PART_ROWS = 1 << 21


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
    items: Iterable[pa.RecordBatch], folder: Path, info: ExportInfo, part_rows: int = PART_ROWS
) -> Iterator[Part]:
    """Items that come in any order sorted by codes, then digit, then content_id; those of equal codes are never in two
    parts.

    A part is a range of the first two codes. All are equally wide, so a part has about `part_rows` items, but more
    where more items share these codes. Memory holds one part; others lie in temporary files in `folder`.
    """
    count = max(1, -(-info.items // part_rows))
    tables = (chunk.select(IDS.names) for chunk in chunks(items, info))
    if count == 1:
        if held := list(tables):
            yield _sorted(pa.concat_tables(held), info)
        return
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        paths = [Path(directory) / f"{number}.arrow" for number in range(count)]
        _spill(tables, paths, info)
        for path in paths:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                if len(table := reader.read_all()):
                    yield _sorted(table, info)


def _spill(tables: Iterable[pa.Table], paths: list[Path], info: ExportInfo) -> None:
    """Each item into the file of its range of first two codes."""
    first, second = (*info.codebook_sizes, 1)[:2]
    with ExitStack() as files:
        writers = [files.enter_context(pa.ipc.new_stream(str(path), IDS)) for path in paths]
        for table in tables:
            codes_NL = codes_of(column(table, "codes"), info.codebook_sizes).astype(np.int64)
            key_N = codes_NL[:, 0] * second + (codes_NL[:, 1] if info.levels > 1 else 0)
            part_N = key_N * len(paths) // (first * second)
            for number in np.unique(part_N).tolist():
                writers[number].write_table(table.filter(pa.array(part_N == number)).cast(IDS))


def _sorted(table: pa.Table, info: ExportInfo) -> Part:
    codes_NL = codes_of(column(table, "codes"), info.codebook_sizes)
    digits_N = digits_of(column(table, "suffix"))
    if digits_N.max(initial=0) > info.largest_suffix:
        raise ValueError(f"suffixes up to {info.largest_suffix} were announced, {digits_N.max()} came")
    ids_NM, content_ids = np.column_stack([codes_NL, digits_N]), column(table, "content_id")
    order = _order(ids_NM, (*info.codebook_sizes, info.largest_suffix + 1), content_ids)
    return Part(content_ids.take(pa.array(order)), ids_NM.take(order, axis=0))


def _order(ids_NM: np.ndarray, sizes: tuple[int, ...], content_ids: pa.Array) -> np.ndarray:
    """int64 [N]: the rows as they sort, equal ones by their content_id."""
    keys, rows = _keys(ids_NM, sizes), len(ids_NM)
    bits = rows.bit_length()
    if len(keys) > 1 or prod(sizes) << bits >= 1 << 63:
        order = np.lexsort(keys)
        same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    else:
        # Sorting numbers that carry their row is several times faster than sorting rows by number.
        carried = (keys[0] << bits) | np.arange(rows)
        carried.sort()
        order = carried & ((1 << bits) - 1)
        same = np.diff(carried >> bits) == 0
    settle_ties(order, same, lambda rows: order_of(content_ids.take(pa.array(rows))))
    return order


def _keys(digits_NM: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """As few int64 keys as hold all columns, the least significant first, as `np.lexsort` takes them."""
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
