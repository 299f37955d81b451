"""What a learned fusion is worth: held-out partners among the nearest items, and content neighbours that stay near."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from fuseid.core.parallel_blocks import on_all_cores
from fuseid.encoders.learned_fusion_pairs import PairSplit

NEAREST = 10
# Rows among which partners are searched, if there are more: those of held-out pairs and random ones.
_CANDIDATES = 20_000
# Rows whose content neighbours are compared.
_COMPARED = 2_000
_PART = 256


class Judge:
    """numbers: int64 [C], the rows whose vectors are judged, sorted."""

    def __init__(self, pairs: PairSplit, rows: int, seed: int) -> None:
        ends = np.unique(pairs.held)
        fill = np.random.default_rng([seed, rows]).permutation(rows)[: max(0, _CANDIDATES - len(ends))]
        self.numbers = np.union1d(ends, fill)
        held = np.searchsorted(self.numbers, np.concatenate([pairs.held, pairs.held[:, ::-1]]))
        self._held = held[np.lexsort((held[:, 1], held[:, 0]))]
        self._pairs = pairs
        self._compared = np.random.default_rng([seed, 1]).permutation(len(self.numbers))[:_COMPARED]

    def hit_rate(self, vectors: torch.Tensor) -> float:
        """The share of held-out partners, seen from either end, that are among the `NEAREST` of the other end, whose
        other partners are passed over. vectors: unit, [C, D]."""
        anchors = np.unique(self._held[:, 0])

        def hits(places: np.ndarray) -> int:
            near = vectors[places] @ vectors.T
            which, partner = self._pairs.partners.among(self.numbers[places], self.numbers)
            here = self._held[np.isin(self._held[:, 0], places)]
            at = np.searchsorted(places, here[:, 0])
            wanted = near[at, here[:, 1]].clone()
            near[which, partner] = -torch.inf
            near[np.arange(len(places)), places] = -torch.inf
            least = near.topk(min(NEAREST, len(self.numbers)), dim=1).values[:, -1]
            return int((wanted >= least[at]).sum())

        return sum(on_all_cores(hits, _parts(anchors))) / max(len(self._held), 1)

    def content_kept(self, vectors: torch.Tensor, content: torch.Tensor) -> float:
        """The share of the `NEAREST` items by content that are among the `NEAREST` by `vectors`; both unit, [C, D]."""
        nearest = min(NEAREST, len(content) - 1)
        if not nearest:
            return 1.0

        def kept(places: np.ndarray) -> int:
            both = []
            for rows in (vectors, content):
                near = rows[places] @ rows.T
                near[np.arange(len(places)), places] = -torch.inf
                both.append(near.topk(nearest, dim=1).indices)
            return int((both[0][:, :, None] == both[1][:, None, :]).sum())

        return sum(on_all_cores(kept, _parts(self._compared))) / (nearest * len(self._compared))


def _parts(places: np.ndarray) -> Iterator[np.ndarray]:
    return (places[start : start + _PART] for start in range(0, len(places), _PART))
