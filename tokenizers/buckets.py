"""Counts items by ID and by prefix with one sort of packed codes, for any number of items and levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from fuseid.tokenizers.estimates import around, wilson

_KEY_LIMIT = 2**63 - 1


@dataclass(frozen=True)
class Buckets:
    """The number of buckets of each size, from which all collision metrics follow."""

    sizes: np.ndarray
    how_many: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> Buckets:
        how_many = np.bincount(counts)
        sizes = np.flatnonzero(how_many)
        return cls(sizes, how_many[sizes])

    @property
    def items(self) -> int:
        return int(self.sizes @ self.how_many)

    @property
    def later(self) -> float:
        """The share of items beyond the first of their bucket."""
        return 1 - int(self.how_many.sum()) / self.items

    @property
    def sharing(self) -> float:
        """The share of items whose bucket holds further items."""
        return int((self.sizes * self.how_many)[self.sizes > 1].sum()) / self.items

    @property
    def pairs(self) -> float:
        """The share of pairs of items that share a bucket."""
        if self.items < 2:
            return 0.0
        inside = (self.sizes.astype(float) * (self.sizes - 1)) @ self.how_many
        return float(inside / self.items / (self.items - 1))

    def interval(self, value: float, hits: np.ndarray) -> tuple[float | None, float | None]:
        """Confidence interval of the share sum hits / sum sizes, `hits` by bucket size; None for a single bucket."""
        count, items = int(self.how_many.sum()), self.items
        if count < 2:
            return None, None
        if value == 1:
            # Buckets do not differ here; the only uncertainty is that a bucket might have held a single item.
            lonely = self.sizes * np.exp(-self.sizes.astype(float))
            return around(1.0, sqrt(float((lonely * (1 - lonely)) @ self.how_many)) / items, 0.0, 1.0)
        variance = count / (count - 1) * float(np.square(hits - value * self.sizes) @ self.how_many) / items**2
        simple = value * (1 - value) / items
        # A variance of 0 does not mean certainty: if no bucket has a collision, each one is one observation.
        effective = items * min(1.0, simple / variance) if simple > 0 and variance > 0 else count
        return wilson(value, effective)

    def pairs_interval(self) -> tuple[float | None, float | None]:
        if self.items < 2:
            return None, None
        shares = self.sizes / self.items
        squares = float(np.square(shares) @ self.how_many)
        spread = max(0.0, float(shares**3 @ self.how_many) - squares**2)
        return around(self.pairs, 2 * sqrt(spread / self.items), 0.0, 1.0)


def packed(columns: Sequence[np.ndarray], sizes: Sequence[int]) -> np.ndarray:
    """Packs columns of codes into one int64 key [N] in mixed radix, sorted like the codes; key % sizes[-1] is the last
    code.

    Where the product of the sizes would overflow, the key so far is replaced by its rank among the keys that occur.
    """
    key, bound = columns[0].astype(np.int64), int(sizes[0])
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        if bound * int(size) > _KEY_LIMIT:
            seen, key = np.unique(key, return_inverse=True)
            bound = len(seen)
        key *= int(size)
        key += column
        bound *= int(size)
    return key


def bucket_ids(codes_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int [N, L] -> (int64 [N], each row's bucket from 0 to G-1, and int64 [G], one row of each bucket)."""
    sizes = (codes_NL.max(0, initial=0).astype(np.int64) + 1).tolist()
    _, first, ids = np.unique(packed(list(codes_NL.T), sizes), return_index=True, return_inverse=True)
    return ids, first


def prefix_buckets(columns: Sequence[np.ndarray], sizes: Sequence[int]) -> list[Buckets]:
    """Buckets of depths 1..L, from one sort of the packed codes (one more where the product of the sizes overflows)."""
    fits, bound = 0, 1
    while fits < len(sizes) and bound * int(sizes[fits]) <= _KEY_LIMIT:
        bound *= int(sizes[fits])
        fits += 1
    key = packed(columns[:fits], sizes[:fits])
    if fits < len(sizes):
        seen, ranks, counts = np.unique(key, return_inverse=True, return_counts=True)
        deeper = prefix_buckets([ranks, *columns[fits:]], [len(seen), *sizes[fits:]])[1:]
    else:
        # Half as many bytes are sorted in half the time.
        key = key.astype(np.uint32) if bound <= 2**32 else key
        key.sort()
        starts = run_starts(key)
        seen, counts, deeper = key[starts], np.diff(starts, append=len(key)), []
    found = [Buckets.of(counts)]
    for size in reversed(sizes[1:fits]):
        seen //= size
        starts = run_starts(seen)
        seen, counts = seen[starts], np.add.reduceat(counts, starts)
        found.append(Buckets.of(counts))
    return found[::-1] + deeper


def run_starts(ordered: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
