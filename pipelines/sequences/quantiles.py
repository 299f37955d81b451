"""Exact quantiles of numbers that do not fit into memory, by a few passes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np

_BINS = 1 << 16


def quantile(parts: Callable[[], Iterable[np.ndarray]], share: Fraction, low: int, high: int, count: int) -> int:
    """The value at position floor(share * count), counted from 0, of all values in ascending order.

    parts: returns int64 arrays of the values, the same at each call; low, high: the smallest and the largest value.
    Each pass counts values in 65,536 equal ranges, and the next one divides the range that contains the position.
    """
    place = min(int(share * count), count - 1)
    while low < high:
        width = -(-(high - low + 1) // _BINS)
        counts = np.zeros(_BINS, np.int64)
        for values in parts():
            inside = values[(values >= low) & (values <= high)]
            counts += np.bincount((inside - low) // width, minlength=_BINS)
        ends = np.cumsum(counts)
        found = int(np.searchsorted(ends, place, side="right"))
        place -= int(ends[found - 1]) if found else 0
        low, high = low + found * width, min(high, low + (found + 1) * width - 1)
    return low
