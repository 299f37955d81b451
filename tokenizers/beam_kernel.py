"""The beam search of `residual_search` after its matrix product, compiled by numba (the extra `fast`): all levels of
one vector in one pass, whose arrays stay in the first-level cache.

It adds the same float32 numbers in the same order as torch's operations do, so its costs have the same bits. A vector
for which two costs of a selection are equal is left to torch, whose order of equal costs follows from its own way of
selecting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

# Paths that the search can keep.
MOST_PATHS = 8
# Positions that are looked at below a bound; more are a sign of equal costs.
_NEAR = 32
_INFINITY: Any = np.float32(np.inf)
_ZERO: Any = np.float32(0)

Floats = np.ndarray
Integers = np.ndarray


def compiled(function: Any) -> Any:
    """Compiled at the first call; kept on disk for later processes where the package or the user's cache can be
    written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


def _lesser_code(context: Any, a: Any, b: Any) -> Any:
    """The smaller of two float32, neither of which is NaN: only so LLVM makes vector instructions of a minimum."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flags = ("nnan", "nsz")
        below = builder.fcmp_ordered("<", *arguments, flags=flags)
        return builder.select(below, *arguments, flags=flags)

    return types.float32(types.float32, types.float32), code


_lesser: Any = intrinsic(_lesser_code)


@njit(nogil=True)
def _eighth(values: Floats, minima: Floats, size: int) -> None:
    """Of each residue modulo `size` among the 8 * size values the minimum."""
    for j in range(size):
        minima[j] = _lesser(
            _lesser(_lesser(values[j], values[j + size]), _lesser(values[j + 2 * size], values[j + 3 * size])),
            _lesser(
                _lesser(values[j + 4 * size], values[j + 5 * size]), _lesser(values[j + 6 * size], values[j + 7 * size])
            ),
        )


@njit(nogil=True)
def _nth(values: Floats, size: int, n: int) -> float:
    """The n-th smallest of values[:size], n from 1 to 8; without branches that depend on the values."""
    a = b = c = d = e = f = g = h = _INFINITY
    for j in range(size):
        x = values[j]
        a, x = min(a, x), max(a, x)
        b, x = min(b, x), max(b, x)
        c, x = min(c, x), max(c, x)
        d, x = min(d, x), max(d, x)
        e, x = min(e, x), max(e, x)
        if n > 5:
            f, x = min(f, x), max(f, x)
            g, x = min(g, x), max(g, x)
            h = min(h, x)
    return (a, b, c, d, e, f, g, h)[n - 1]


@njit(nogil=True)
def _below(values: Floats, bound: float, places: Integers, number: int, size: int, ways: int) -> int:
    """places[:number]: residues modulo `size` -> the places of values up to `bound` that have these residues, in
    `places`, and their number. places must have room for ways * number more."""
    for n in range(number):
        places[ways * _NEAR + n] = places[n]
    found = 0
    for n in range(number):
        place = places[ways * _NEAR + n]
        for _ in range(ways):
            places[found] = place
            found += values[place] <= bound
            place += size
    return found


@njit(nogil=True)
def _smallest(
    values: Floats,
    size: int,
    count: int,
    minima: Floats,
    fewer: Floats,
    places: Integers,
    near: Floats,
    costs: Floats,
    kept: Integers,
) -> bool:
    """The `count` smallest of values[:size], ascending, and their places; false if equal ones leave the order open."""
    top, width, steps = values, size, 0
    if width % 8 == 0 and width >= 24 * count:
        width //= 8
        _eighth(values, minima, width)
        top, steps = minima, 1
        if width % 8 == 0 and width >= 24 * count:
            width //= 8
            _eighth(minima, fewer, width)
            top, steps = fewer, 2
    # At least `count` of the values are no larger than this bound, and rarely many more.
    bound = _nth(top, width, count)
    number = 0
    for place in range(width):
        places[number] = place
        number += top[place] <= bound
        if number >= _NEAR:
            return False
    while steps:
        steps -= 1
        number = _below(minima if steps else values, bound, places, number, width, 8)
        if number >= _NEAR:
            return False
        width *= 8
    for n in range(number):
        near[n] = values[places[n]]
    taken = 0
    for n in range(number):
        rank = 0
        for other in range(number):
            rank += near[other] < near[n]
        if rank < count:
            taken |= 1 << rank
            costs[rank], kept[rank] = near[n], places[n]
    up_to_last = 0
    for n in range(number):
        up_to_last += near[n] <= costs[count - 1]
    return taken == (1 << count) - 1 and up_to_last == count


@njit(nogil=True)
def _add(out: Floats, one: Floats, other: Floats, size: int) -> None:
    for k in range(size):
        out[k] = one[k] + other[k]


@njit(nogil=True)
def _sum(sums: Floats, table: Floats, start: int, starts: Integers, path: Integers, level: int, size: int) -> None:
    """Into sums [K]: the sum of the table's rows of the first `level` - 1 codes of a path, at least two."""
    one, other = start + path[0] * size, start + (starts[1] + path[1]) * size
    _add(sums, table[one : one + size], table[other : other + size], size)
    for m in range(2, level - 1):
        other = start + (starts[m] + path[m]) * size
        _add(sums, sums, table[other : other + size], size)


@njit(nogil=True)
def _costs(out: Floats, before: Floats, row: Floats, own: Floats, cost: float, size: int) -> None:
    for k in range(size):
        out[k] = ((before[k] + row[k]) + own[k]) + cost


@njit(nogil=True)
def _least(before: Floats, row: Floats, own: Floats, size: int) -> float:
    least = _INFINITY
    for k in range(size):
        least = _lesser((before[k] + row[k]) + own[k], least)
    return least


@njit(nogil=True)
def _first(values: Floats, size: int, value: float) -> int:
    """The first place of a value that is there."""
    place = 0
    while place + 32 <= size:
        there = np.int32(0)
        for k in range(place, place + 32):
            there |= values[k] == value
        if there:
            break
        place += 32
    while values[place] != value:
        place += 1
    return place


@compiled
def search(
    added: Floats, sizes: Integers, table: Floats, offsets: Integers, beam: int, codes: Integers, left: np.ndarray
) -> None:
    """added: float32 [B, sum K], what each code adds to the cost on its own. sizes: int64 [L], at least two levels.
    table: float32, flat: at offsets[l] the products of level l's codes with those of earlier levels,
    [K_1 + .. + K_{l-1}, K_l]; at its end as many zeros as the widest level has codes. codes: int64 [B, L], to be
    written. left: bool [B], to be written: whether equal costs leave the codes open.

    The numbers must be finite and so small that no sum of them overflows. beam: 2 to `MOST_PATHS`, at most K_1.
    """
    last = len(sizes) - 1
    widest = sizes.max()
    nothing = len(table) - widest
    total, sums = np.empty(beam * widest, np.float32), np.empty(widest, np.float32)
    minima, fewer = np.empty(beam * widest, np.float32), np.empty(beam * widest, np.float32)
    places, near = np.empty(beam * widest + 9 * _NEAR, np.int64), np.empty(beam * widest + _NEAR, np.float32)
    costs, kept = np.zeros(beam, np.float32), np.zeros(beam, np.int64)
    paths, earlier = np.zeros((beam, last + 1), np.int64), np.zeros((beam, last + 1), np.int64)
    starts = np.cumsum(sizes) - sizes
    for row in range(len(added)):
        clear = True
        for level in range(last):
            size = sizes[level]
            own = added[row, starts[level] : starts[level] + size]
            if level == 0:
                clear = _smallest(own, size, beam, minima, fewer, places, near, costs, kept)
            else:
                for n in range(beam):
                    out = total[n * size : (n + 1) * size]
                    here = offsets[level] + (starts[level - 1] + paths[n, level - 1]) * size
                    before = nothing if level == 1 else offsets[level] + paths[n, 0] * size
                    if level > 2:
                        _sum(sums, table, offsets[level], starts, paths[n], level, size)
                        _costs(out, sums, table[here : here + size], own, costs[n], size)
                    else:
                        _costs(out, table[before : before + size], table[here : here + size], own, costs[n], size)
                clear = _smallest(total, beam * size, beam, minima, fewer, places, near, costs, kept)
            if not clear:
                break
            for n in range(beam):
                for m in range(level):
                    earlier[n, m] = paths[n, m]
            for n in range(beam):
                path = kept[n] // size
                for m in range(level):
                    paths[n, m] = earlier[path, m]
                paths[n, level] = kept[n] - path * size
        left[row] = not clear
        if not clear:
            continue
        size = sizes[last]
        own = added[row, starts[last] : starts[last] + size]
        best, path, least = _INFINITY, 0, _INFINITY
        for n in range(beam):
            here = offsets[last] + (starts[last - 1] + paths[n, last - 1]) * size
            before = nothing if last == 1 else offsets[last] + paths[n, 0] * size
            if last > 2:
                _sum(sums, table, offsets[last], starts, paths[n], last, size)
                inner = _least(sums, table[here : here + size], own, size)
            else:
                inner = _least(table[before : before + size], table[here : here + size], own, size)
            if inner + costs[n] < best:
                best, path, least = inner + costs[n], n, inner
        here = offsets[last] + (starts[last - 1] + paths[path, last - 1]) * size
        before = nothing if last == 1 else offsets[last] + paths[path, 0] * size
        if last > 2:
            _sum(sums, table, offsets[last], starts, paths[path], last, size)
            _costs(total, sums, table[here : here + size], own, _ZERO, size)
        else:
            _costs(total, table[before : before + size], table[here : here + size], own, _ZERO, size)
        for m in range(last):
            codes[row, m] = paths[path, m]
        codes[row, last] = _first(total, size, least)
