"""Places of cold items in the lists of a trial: what they gain, and what warm items lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fuseid.pipelines.evaluation.histories import TestHistories
from fuseid.pipelines.evaluation.ranking import IdIndex
from fuseid.tokenizers.cold import beside, cold_neighbours
from fuseid.tokenizers.trie import Trie


@dataclass(frozen=True)
class ColdPlaces:
    """share: of the places of a list, for cold items that share at least so many leading `codes` with an item of the
    history."""

    share: float
    codes: int


def with_cold(
    found_EB: np.ndarray,
    index: IdIndex,
    codes_NM: np.ndarray,
    cold_N: np.ndarray,
    test: TestHistories,
    options: Sequence[ColdPlaces],
) -> list[np.ndarray]:
    """The lists of buckets of a trial, int64 [E, B], with cold items in their places: one such array for each option.
    Items of the history itself get no place."""
    if not options:
        return []
    beams = found_EB.shape[1]
    own = [items[items >= 0] for items in test.history_EH]
    cold = Trie.build(codes_NM).filtered(cold_N)
    least = min(option.codes for option in options)
    near = cold_neighbours(cold, [codes_NM[items] for items in own], beams, least, [items.tolist() for items in own])
    listed = [[bucket for bucket in row if bucket >= 0] for row in found_EB.tolist()]
    lists = []
    for option in options:
        list_EB = np.full_like(found_EB, -1)
        for row, (buckets, new) in enumerate(zip(listed, near, strict=True)):
            placed = beside(buckets, index.of_N[new.sharing(option.codes)].tolist(), option.share)
            list_EB[row, : len(placed)] = placed
        lists.append(list_EB)
    return lists
