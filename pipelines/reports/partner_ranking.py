"""Where rankings of items place the partners of an item: by vectors, by common prefix, by a value, or by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from fuseid.core.parallel_blocks import on_all_cores
from fuseid.encoders.learned_fusion_pairs import Partners

# Of some of C items, int64 [A] -> float32 [A, C]: all items' scores as their neighbours, the best the largest.
Scores = Callable[[np.ndarray], torch.Tensor]

# Anchors that one thread compares with all items at a time.
_ANCHORS = 128
# Below every cosine.
_ABSENT, _PASSED_OVER = -2.0, -np.inf


def by_vector(vectors_CD: np.ndarray) -> Scores:
    """By cosine. Items without a vector, a row of NaN, tie behind all others; for them, all items tie."""
    absent = torch.from_numpy(np.isnan(vectors_CD).any(1))
    unit = torch.nn.functional.normalize(torch.from_numpy(np.nan_to_num(vectors_CD)), dim=1)

    def scores(places: np.ndarray) -> torch.Tensor:
        found = unit[places] @ unit.T
        found[:, absent] = _ABSENT
        found[absent[places]] = _ABSENT
        return found

    return scores


def by_prefix(codes_CL: np.ndarray) -> Scores:
    """By how many codes from the first one on are the same."""
    codes = torch.from_numpy(codes_CL)

    def scores(places: np.ndarray) -> torch.Tensor:
        found = torch.zeros(len(places), len(codes))
        same = torch.ones(found.shape, dtype=torch.bool)
        for level in codes.T:
            same &= level[places, None] == level
            found += same
        return found

    return scores


def by_value(values_C: Sequence[str | None]) -> Scores:
    """Items of the same value before all others; for items without one, all items tie."""
    known = {value: number for number, value in enumerate(dict.fromkeys(values_C)) if value is not None}
    number_C = torch.tensor([known.get(value, -1) if value is not None else -1 for value in values_C])

    def scores(places: np.ndarray) -> torch.Tensor:
        own = number_C[places, None]
        return ((own == number_C) & (own >= 0)).float()

    return scores


def by_chance(count: int) -> Scores:
    return lambda places: torch.zeros(len(places), count)


def placed(scores: Scores, asked_E2: np.ndarray, partners: Partners, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The place of a partner among `count` items without the anchor and its other partners -> (how many are before
    it, how many tie with it, itself among them), int64 [E] each. asked_E2: int, anchors and partners."""
    everyone = np.arange(count)
    order = np.argsort(asked_E2[:, 0], kind="stable")
    asked_E2 = asked_E2[order]

    def block(rows: slice) -> np.ndarray:
        anchors, at = np.unique(asked_E2[rows, 0], return_inverse=True)
        near = scores(anchors).numpy()
        wanted = near[at, asked_E2[rows, 1]]
        near[partners.among(anchors, everyone)] = _PASSED_OVER
        near[np.arange(len(anchors)), anchors] = _PASSED_OVER
        places = np.empty((2, len(at)), np.int64)
        # One row at a time stays in the cache.
        for number, (row, score) in enumerate(zip(at, wanted, strict=True)):
            places[:, number] = np.count_nonzero(near[row] > score), np.count_nonzero(near[row] == score)
        # A partner itself was passed over, other items were not.
        places[1] += near[at, asked_E2[rows, 1]] != wanted
        return places

    found = np.empty((2, len(order)), np.int64)
    found[:, order] = np.concatenate(list(on_all_cores(block, _blocks(asked_E2[:, 0]))), axis=1)
    return found[0], found[1]


def _blocks(anchor_E: np.ndarray) -> Iterator[slice]:
    """The rows of so many anchors at a time."""
    starts = np.flatnonzero(np.diff(anchor_E, prepend=-1))[::_ANCHORS].tolist()
    return (slice(start, end) for start, end in zip(starts, [*starts[1:], len(anchor_E)], strict=True))
