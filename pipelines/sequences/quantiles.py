"""Exact quantiles of numbers that do not fit into memory, in a few passes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np

_BINS = 1 << 16


def quantile(parts: Callable[[], Iterable[np.ndarray]], share: Fraction, low: int, high: int, count: int) -> int:
    """The value that stands at place floor(share * count), from 0 on, of all values in ascending order.

    parts: int64 arrays of the values, the same at each call; low, high: the least and the largest of them. Each pass
    counts values in 65,536 equal ranges and goes on in the one that holds the place.
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
