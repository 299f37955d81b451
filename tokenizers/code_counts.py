"""How often codes are used, and pairs of codes of two levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class CodeCounts:
    """How many vectors have each code of each level, int64 [K_l]; and each code of the levels before l together with
    each of level l, int64 [K_1 + .. + K_{l-1}, K_l], for each level l after the first."""

    levels: list[np.ndarray]
    pairs: list[np.ndarray]

    @classmethod
    def of(cls, codes_NL: np.ndarray, sizes: Sequence[int]) -> CodeCounts:
        levels = [np.bincount(codes_NL[:, level], minlength=size) for level, size in enumerate(sizes)]
        pairs = []
        for level in range(1, len(sizes)):
            tables = [
                np.bincount(
                    codes_NL[:, before].astype(np.int64) * sizes[level] + codes_NL[:, level],
                    minlength=sizes[before] * sizes[level],
                ).reshape(sizes[before], sizes[level])
                for before in range(level)
            ]
            pairs.append(np.concatenate(tables))
        return cls(levels, pairs)

    @classmethod
    def joined(cls, together: np.ndarray, sizes: Sequence[int]) -> CodeCounts:
        """together: [S, S], S the sum of the sizes: how many vectors have each code of one level and each of a later
        or the same one."""
        ends = np.cumsum(sizes)
        whole = together.astype(np.int64)
        levels = np.split(whole.diagonal(), ends[:-1])
        return cls(levels, [whole[:start, start:end] for start, end in pairwise(ends)])

    @property
    def dead(self) -> dict[int, np.ndarray]:
        """The counts of each level that has codes without a vector."""
        return {level: counts for level, counts in enumerate(self.levels) if not counts.all()}

    def plus(self, other: CodeCounts) -> CodeCounts:
        added = ([a + b for a, b in zip(*each, strict=True)] for each in (
            (self.levels, other.levels), (self.pairs, other.pairs)
        ))  # fmt: skip
        return CodeCounts(*added)


def normalised_entropy(counts_K: np.ndarray) -> float:
    """Of the codes of one level: 1 for even use, also of a single code. counts: vectors of each code."""
    if len(counts_K) < 2:
        return 1.0
    shares = counts_K[counts_K > 0] / max(counts_K.sum(), 1)
    return float(-(shares * np.log(shares)).sum() / math.log(len(counts_K)))
