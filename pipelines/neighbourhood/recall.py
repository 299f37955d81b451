"""How many partitions have to be probed, and which share of the true neighbours a table has, both by canaries: random
rows that are compared with all others."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fuseid.pipelines.neighbourhood.best import places_of, scores_of
from fuseid.pipelines.neighbourhood.partitions import Partitions
from fuseid.pipelines.neighbourhood.row_files import RowFiles, Rows
from fuseid.tokenizers.estimates import Z95

# One half of them chooses the number of partitions, the other half measures the table.
CANARIES = 1024
_AT_A_TIME = 128
# Cosines of one pair in two matrix products differ by less.
_SAME_SCORE = 1e-6


@dataclass(frozen=True)
class Recall:
    """value: the mean over canaries of the share of the k true neighbours that a row has. low, high: of its 95%
    interval; equal if all rows are canaries. canaries: how many."""

    value: float
    low: float
    high: float
    canaries: int

    @classmethod
    def of(cls, shares_C: np.ndarray, is_all: bool) -> Recall:
        """shares_C: float, of each canary. is_all: whether all rows are canaries."""
        value = float(shares_C.mean())
        if is_all:
            return cls(value, value, value, len(shares_C))
        return cls(value, lower_bound(shares_C), min(1.0, value + _error(shares_C)), len(shares_C))

    def facts(self) -> dict[str, Any]:
        return {name: number if name == "canaries" else round(number, 4) for name, number in asdict(self).items()}


def canaries(files: RowFiles, seed: int = 0) -> Rows:
    """At most `CANARIES` rows, random ones in random order."""
    rows = files.parts.rows
    chosen = np.random.default_rng(seed).choice(rows, min(CANARIES, rows), replace=False)
    found = [files.row(row) for row in chosen.tolist()]
    return Rows(np.concatenate([one.places_N for one in found]), np.concatenate([one.vectors_ND for one in found]))


def probes_for(shares_CP: np.ndarray, others_CP: np.ndarray, target: float) -> int:
    """The least number of partitions with which canaries have the recall `target` at the low end of its interval, and
    other ones in the mean. shares_CP, others_CP: see `found_within`."""
    for probes in range(1, shares_CP.shape[1] + 1):
        if lower_bound(shares_CP[:, probes - 1]) >= target and others_CP[:, probes - 1].mean() >= target:
            return probes
    return shares_CP.shape[1]


def found_within(own: Rows, keys_CK: np.ndarray, partition_N: np.ndarray, partitions: Partitions) -> np.ndarray:
    """float32 [C, P]: which share of a canary's true neighbours is in the partitions nearest to it, by their number.

    keys_CK: the true neighbours. partition_N: int, the partition of each place.
    """
    found = np.empty((len(keys_CK), len(partitions.centres_PD)), np.float32)
    for at in range(0, len(keys_CK), _AT_A_TIME):
        keys = keys_CK[at : at + _AT_A_TIME]
        order = np.argsort(-partitions.closeness(own.vectors_ND[at : at + _AT_A_TIME]), axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
        there = keys != 0
        places = np.where(there, places_of(keys), 0)
        ranks = np.take_along_axis(rank, np.asarray(partition_N[places], np.int64), axis=1)
        counts = np.zeros(order.shape, np.int64)
        rows = np.broadcast_to(np.arange(len(ranks))[:, None], ranks.shape)
        np.add.at(counts, (rows[there], ranks[there]), 1)
        found[at : at + _AT_A_TIME] = np.cumsum(counts, axis=1) / np.maximum(1, there.sum(1))[:, None]
    return found


def measured(keys_CK: np.ndarray, exact_CK: np.ndarray) -> np.ndarray:
    """float64 [C]: of each canary, the share of its neighbours in the table that are as near as its true ones; equally
    near ones count."""
    true_C = np.count_nonzero(exact_CK, axis=1)
    worst = scores_of(np.where(exact_CK == 0, np.uint64(2**64 - 1), exact_CK).min(1))
    good = (scores_of(keys_CK) >= worst[:, None] - _SAME_SCORE).sum(1)
    return np.where(true_C == 0, 1.0, np.minimum(good, true_C) / np.maximum(1, true_C))


def lower_bound(shares_C: np.ndarray) -> float:
    """Of the normal 95% interval, with one more canary that has found nothing: so that some canaries without an error
    do not prove a table without errors: the bound is then about 1 - 3 / C, the rule of three."""
    more = np.append(shares_C, 0.0)
    return max(0.0, float(more.mean()) - _error(more))


def _error(shares_C: np.ndarray) -> float:
    return float(Z95 * shares_C.std() / len(shares_C) ** 0.5)
