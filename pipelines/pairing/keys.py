"""Pairs of item numbers as one integer each, whose order is that of the pairs, and sums of rows of equal pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
# Rows of a method before they are reduced. count: of users, or in swing of pairs of users.
PARTIAL = pa.schema([("key", pa.uint64()), ("count", pa.int32()), ("sum", pa.float64())])


def keys_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """int32 [N] twice -> uint64 [N]: the lower number in the high bits."""
    low, high = np.minimum(one, other).astype(np.uint64), np.maximum(one, other).astype(np.uint64)
    return low << _SHIFT | high


def items_of(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [N] -> int32 [N] twice, the lower number first."""
    return (keys >> _SHIFT).astype(np.int32), (keys & _LOW).astype(np.int32)


def summed(keys: np.ndarray, values: np.ndarray | None = None, counts: np.ndarray | None = None) -> pa.Table:
    """uint64 [N], float64 [N], int32 [N] -> `PARTIAL`, each key once, ascending. Values of equal keys are added in the
    order of the rows. Without values each row is 1, and without counts, too."""
    if not len(keys):
        return PARTIAL.empty_table()
    if values is None and counts is None:
        keys = np.sort(keys)
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        number = np.diff(np.append(starts, len(keys)))
        return pa.Table.from_arrays([keys[starts], number.astype(np.int32), number.astype(float)], schema=PARTIAL)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    number = np.diff(np.append(starts, len(keys)))
    if counts is not None:
        number = np.add.reduceat(counts[order], starts)
    sums = number if values is None else np.add.reduceat(values[order], starts)
    return pa.Table.from_arrays([keys[starts], number.astype(np.int32), sums.astype(float)], schema=PARTIAL)


def expanded(lengths: np.ndarray) -> np.ndarray:
    """int64 [N] -> int64 [sum]: 0, 1, ... of each length, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def pairs_within(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 [G] twice, ranges of places -> all places i < j of the same range, and the range of each, int64 each."""
    lengths = ends - starts
    place = np.repeat(starts, lengths) + expanded(lengths)
    after = np.repeat(ends, lengths) - place - 1
    first = np.repeat(place, after)
    return first, first + 1 + expanded(after), np.repeat(np.repeat(np.arange(len(starts)), lengths), after)
