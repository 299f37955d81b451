"""Counts of values in bounded memory.

Exact up to a number of distinct values; beyond it the most frequent ones, each at most a known number too low: the
summary of Misra and Gries ("Finding repeated elements", 1982), reduced a batch at a time (Agarwal et al., "Mergeable
summaries", 2012, section 2).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

MOST_VALUES, MOST_CHARS = 100_000, 64 << 20


class Counts:
    """Texts and how often each was added; `error` is how much too low a count may be, 0 while all are exact."""

    def __init__(self, most_values: int = MOST_VALUES, most_chars: int = MOST_CHARS) -> None:
        self._counts: dict[str, int] = {}
        self._most_values, self._most_chars = most_values, most_chars
        self._chars = 0
        self.total = 0
        self.error = 0

    def add(self, counted: Iterable[tuple[str, int]]) -> None:
        for value, count in counted:
            if value not in self._counts:
                self._chars += len(value)
            self._counts[value] = self._counts.get(value, 0) + count
            self.total += count
        while len(self._counts) > self._most_values or self._chars > self._most_chars:
            self._reduce()

    @property
    def distinct(self) -> int:
        """How many values are counted; all of them while `error` is 0."""
        return len(self._counts)

    def top(self, most: int) -> list[tuple[str, int]]:
        """The most frequent ones, those of the same count by their text."""
        return heapq.nsmallest(most, self._counts.items(), key=lambda pair: (-pair[1], pair[0]))

    def _reduce(self) -> None:
        """Subtracts the middle count from all; half of the values or more are dropped with it."""
        counts = sorted(self._counts.values())
        less = counts[len(counts) // 2]
        self.error += less
        self._counts = {value: count - less for value, count in self._counts.items() if count > less}
        self._chars = sum(map(len, self._counts))
