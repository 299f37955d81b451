"""Churn: how many items and prefixes change when one tokenizer replaces another, and which codes split and merge."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from fuseid.core.errors import BadInput
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.estimates import around, checked_codes, wilson
from fuseid.tokenizers.measures import Measure, in_order


def churn_measures(
    old_NL: np.ndarray, new_NL: np.ndarray, suffixes: tuple[np.ndarray, np.ndarray] | None = None
) -> list[Measure]:
    """churn and churn_prefixes of each depth that both tokenizers have, and churn_id; see DEFINITIONS.

    old_NL, new_NL: integers [N, L] and [N, L'], the codes of the same items in the same order. suffixes: the collision
    digits of both, integers [N] each, any one number for none; without them IDs are compared by their codes. The
    figures by chance are exact means over all permutations. Time: L + 1 sorts of 2 N keys. Memory: a few arrays of 2 N.
    Raises BadInput for numbers of items that differ.
    """
    old_NL, new_NL = checked_codes(old_NL), checked_codes(new_NL)
    if len(old_NL) != len(new_NL):
        raise BadInput(f"codes of {len(old_NL)} items and of {len(new_NL)} cannot be compared; give those of both")
    levels = min(old_NL.shape[1], new_NL.shape[1])
    found = []
    for depth in range(1, levels + 1):
        one = _Compared.of(old_NL[:, :depth], new_NL[:, :depth])
        found += [one.items("churn", depth), one.prefixes(depth)]
    if old_NL.shape != new_NL.shape:
        return in_order([*found, Measure("churn_id", 1.0, None, *wilson(1.0, len(old_NL)), 1.0, 1.0, 1.0)])
    if suffixes is not None:
        # From 0 on, as codes count.
        least = min(int(suffix.min(initial=0)) for suffix in suffixes)
        old_NL, new_NL = (
            np.column_stack([codes, suffix - least]) for codes, suffix in zip((old_NL, new_NL), suffixes, strict=True)
        )
    return in_order([*found, _Compared.of(old_NL, new_NL).items("churn_id", None)])


@dataclass(frozen=True)
class _Compared:
    """The same number for the same prefix in both: int [N] each; and how many items have each, int [G]."""

    old_N: np.ndarray
    new_N: np.ndarray
    old_G: np.ndarray
    new_G: np.ndarray

    @classmethod
    def of(cls, old_ND: np.ndarray, new_ND: np.ndarray) -> _Compared:
        ids, firsts = bucket_ids(np.concatenate([old_ND, new_ND]))
        old_N, new_N = ids[: len(old_ND)], ids[len(old_ND) :]
        return cls(old_N, new_N, *(np.bincount(each, minlength=len(firsts)) for each in (old_N, new_N)))

    def items(self, name: str, depth: int | None) -> Measure:
        """The share of items that changed. By chance: mean and variance of the fixed points of a random permutation
        (Hoeffding 1951, theorem 2)."""
        count = len(self.old_N)
        value = float((self.old_N != self.new_N).mean())
        old_G, new_G = self.old_G.astype(float), self.new_G.astype(float)
        pairs = float(old_G @ new_G)
        triples = float((old_G * new_G) @ (old_G + new_G))
        spread = (pairs - triples / count + (pairs / count) ** 2) / max(count - 1, 1)
        null = 1 - pairs / count**2
        return Measure(
            name, value, depth, *wilson(value, count), null, *around(null, sqrt(max(spread, 0.0)) / count, 0.0, 1.0)
        )

    def prefixes(self, depth: int) -> Measure:
        """The share of the old prefixes that changed."""
        kept_G = np.bincount(self.old_N[self.old_N == self.new_N], minlength=len(self.old_G))
        there = self.old_G > 0
        value = float((2 * kept_G < self.old_G)[there].mean())
        return Measure("churn_prefixes", value, depth, *wilson(value, int(there.sum())))


@dataclass(frozen=True)
class Spread:
    """A code, its items, and the codes that these have under the other tokenizer: (code, items), most items first.
    entropy: of the latter, in bits; 0 if all items have one code."""

    code: int
    items: int
    entropy: float
    parts: tuple[tuple[int, int], ...]


def spreads(from_N: np.ndarray, to_N: np.ndarray) -> list[Spread]:
    """Where the items of each code went, for codes int [N] of one level under two tokenizers: the codes that split. The
    other way round: the codes that merged. The code with the most bits in all (items times entropy) comes first."""
    size = int(to_N.max(initial=0)) + 1
    pairs, counts = np.unique(from_N.astype(np.int64) * size + to_N, return_counts=True)
    codes, others = np.divmod(pairs, size)
    found = []
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(pairs)], strict=True):
        inside, to = counts[start:end], others[start:end]
        shares = inside / inside.sum()
        order = np.argsort(-inside, kind="stable")
        parts = tuple((int(to[at]), int(inside[at])) for at in order)
        entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
        found.append(Spread(int(codes[start]), int(inside.sum()), entropy, parts))
    return sorted(found, key=lambda one: (-one.items * one.entropy, one.code))
