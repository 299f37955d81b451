"""Ranking measures for one relevant item among others that may tie with it, as arrays.

Tied items take adjacent ranks in random order; every measure is its expectation over that order, so that a tokenizer
gains nothing from collisions.
"""

from __future__ import annotations

import numpy as np


def recall(before_E: np.ndarray, same_E: np.ndarray, k: int) -> np.ndarray:
    """float64 [E]: the chance that the target is among the first k. before_E: how many items are ranked before it.
    same_E: how many tie with it, itself among them; 0 for a target that is not ranked."""
    return np.clip(k - before_E, 0, same_E) / np.maximum(same_E, 1)


def ndcg(before_E: np.ndarray, same_E: np.ndarray, k: int) -> np.ndarray:
    """float64 [E]: the expectation of 1 / log2(1 + rank) if the rank is at most k, else of 0 (Järvelin and Kekäläinen
    2002, with one relevant item, whose ideal is 1)."""
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])
    first, last = np.minimum(before_E, k), np.minimum(before_E + same_E, k)
    return (gains[last] - gains[first]) / np.maximum(same_E, 1)


MEASURES = {"recall": recall, "ndcg": ndcg}
