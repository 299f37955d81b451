"""How much of what a scan finds a search through an index finds."""

from __future__ import annotations

from dataclasses import dataclass

import lance
import numpy as np

from fuseid.pipelines.indexing.canaries import Canaries, K, condition
from fuseid.pipelines.search.nearest import vector_search
from fuseid.pipelines.store.index_figures import Effort


@dataclass(frozen=True)
class Recall:
    """mean: the share of the 10 nearest that is found; error: its standard error."""

    mean: float
    error: float


def recall(dataset: lance.LanceDataset, canaries: Canaries, share: str, effort: Effort) -> Recall | None:
    """recall@10, without the canaries themselves among the results; the lower one of those of items and of texts. None
    if there is no canary that can be judged."""
    near = canaries.near[share]
    if not near.size_Q.any():
        return None
    search = vector_search(canaries.column, canaries.queries_QD, K + 1, effort)
    scan = dataset.scanner(columns=["_rowid", "_distance"], nearest=search, filter=condition(share), prefilter=True)
    found = scan.to_table().sort_by([("query_index", "ascending"), ("_distance", "ascending")])
    numbers, rows = found["query_index"].to_numpy(), found["_rowid"].to_numpy()
    others = rows != canaries.own_Q[numbers]
    numbers, rows = numbers[others], rows[others]
    # Of each query the first K: its results are in one run.
    rank = np.arange(len(numbers)) - np.searchsorted(numbers, numbers)
    numbers, rows = numbers[rank < K], rows[rank < K]
    hits = ((near.rows_QR[numbers] == rows[:, None]) & near.good_QR[numbers]).any(1)
    shares = np.bincount(numbers[hits], minlength=len(near.size_Q)) / np.maximum(near.size_Q, 1)
    groups = [(near.size_Q > 0) & (canaries.texts_Q == texts) for texts in (False, True)]
    measured = [_recall(shares[group]) for group in groups if group.any()]
    return min(measured, key=lambda each: each.mean)


def _recall(shares_Q: np.ndarray) -> Recall:
    return Recall(float(shares_Q.mean()), float(shares_Q.std() / np.sqrt(len(shares_Q))))
