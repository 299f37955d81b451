"""The pairs of a learned fusion by row numbers: which are held out, which are drawn, and who is whose partner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fuseid.core.errors import BadInput

# One pair in ten is held out, at most so many.
_HELD_SHARE, _MOST_HELD = 10, 20_000


class Partners:
    """The partners of each row."""

    def __init__(self, pairs_P2: np.ndarray, rows: int) -> None:
        """pairs_P2: int32 [P, 2], each pair once."""
        first, second = pairs_P2.T
        of = np.concatenate([first, second])
        order = np.argsort(of, kind="stable")
        self._partners = np.concatenate([second, first])[order]
        self._ends = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=rows))])

    def of(self, numbers_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [N] -> (for each of their partners the place of the row in `numbers_N`, [E]; the partner's row, [E])."""
        starts, counts = self._ends[numbers_N], self._ends[numbers_N + 1] - self._ends[numbers_N]
        place = np.repeat(np.arange(len(numbers_N)), counts)
        inside = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, self._partners[starts[place] + inside]

    def among(self, numbers_N: np.ndarray, others_C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The partners of rows that are among others, sorted and distinct: (place in `numbers_N`, place in
        `others_C`)."""
        place, partner = self.of(numbers_N)
        at = np.searchsorted(others_C, partner)
        there = others_C[np.minimum(at, len(others_C) - 1)] == partner
        return place[there], at[there]


def highest_held(hashes_P: np.ndarray) -> int:
    """uint64 [P], of distinct pairs -> the hash up to which they are held out; -1 for fewer than two pairs."""
    if len(hashes_P) < 2:
        return -1
    count = min(max(len(hashes_P) // _HELD_SHARE, 1), _MOST_HELD)
    return int(np.partition(hashes_P, count - 1)[count - 1])


@dataclass(frozen=True)
class PairSplit:
    """learned: int32 [P, 2], rows, the smaller first; weights: float64 [P], how often they are drawn in proportion.
    held: int32 [Q, 2], held out. partners: by all pairs. highest: the hash up to which pairs are held out, -1 where
    none is."""

    learned: np.ndarray
    weights: np.ndarray
    held: np.ndarray
    partners: Partners
    highest: int

    @classmethod
    def of(
        cls, pairs_P2: np.ndarray, weights_P: np.ndarray | None, hashes_P: np.ndarray | None, rows: int
    ) -> PairSplit:
        """weights_P: of pairs that occur several times, in either direction, they are added; None for 1 each. hashes_P:
        uint64, by the lowest of which pairs are held out; None takes a hash of the row numbers.

        Raises BadInput for pairs that cannot be used.
        """
        pairs, weights, hashes = _distinct(pairs_P2, weights_P, hashes_P, rows)
        highest = highest_held(hashes)
        held = hashes <= highest if highest >= 0 else np.zeros(len(pairs), bool)
        return cls(pairs[~held], weights[~held], pairs[held], Partners(pairs, rows), highest)

    def drawn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """int32 [count, 2]: pairs in random order, each as often as its share of the weights says, rounded up or down
        at random (systematic sampling, Madow 1949)."""
        order = rng.permutation(len(self.learned))
        ends = np.cumsum(self.weights[order])
        points = (np.arange(count) + rng.random()) * (ends[-1] / count)
        found = order[np.minimum(np.searchsorted(ends, points, side="right"), len(order) - 1)]
        return self.learned[rng.permutation(found)]


def _distinct(
    pairs_P2: np.ndarray, weights_P: np.ndarray | None, hashes_P: np.ndarray | None, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `PairSplit.of` -> int32 [P, 2], sorted; float64 [P]; uint64 [P]."""
    pairs = np.sort(np.asarray(pairs_P2).astype(np.int32).reshape(-1, 2), axis=1)
    weights = np.ones(len(pairs)) if weights_P is None else np.array(weights_P, np.float64)
    if len(pairs) and (pairs[:, 0].min() < 0 or pairs[:, 1].max() >= rows):
        raise BadInput(f"pairs are of rows 0 to {rows - 1}, got {pairs[:, 0].min()} and {pairs[:, 1].max()}")
    if len(same := pairs[pairs[:, 0] == pairs[:, 1]]):
        raise BadInput(f"a pair joins row {same[0, 0]} with itself; leave such pairs out")
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise BadInput("weights of pairs must be finite and above 0")
    keys = pairs[:, 0].astype(np.int64) * rows + pairs[:, 1]
    # Weights of equal pairs are added in their order, so that the order of pairs does not change a sum.
    order = np.lexsort((weights, keys))
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    keys, first = keys[starts], order[starts]
    summed = np.add.reduceat(weights[order], starts) if len(starts) else weights
    return pairs[first], summed, _mixed(keys) if hashes_P is None else np.asarray(hashes_P, np.uint64)[first]


def _mixed(keys: np.ndarray) -> np.ndarray:
    """int64 [P] -> uint64 [P], mixed (the finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
