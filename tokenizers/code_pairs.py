"""Prices of codes and of pairs of codes: what many vectors have costs more, so that IDs are used more evenly.

A search with the price `strength * log(count / even)` for each code minimises distortion - strength * entropy, as
entropy-constrained quantization does with the other sign (Chou, Lookabaugh and Gray 1989); such prices are the
potentials of optimal transport to even use with a soft marginal (Chizat et al. 2018, unbalanced Sinkhorn). Prices of
single codes even out each level. Vectors crowd where two codes occur together more often than by chance, and that is
where whole IDs collide: prices of pairs even these out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.tokenizers.code_counts import CodeCounts

# Prices move towards the new ones by this share of the way at most, and no faster than this per factor e of use, in
# shares of the variance: whatever is moved away by too long a step comes back in the next round.
_MOST, _FASTEST = 0.5, 0.0025


@dataclass(frozen=True)
class Prices:
    """codes: float32 [K_l] of each level. pairs: float32 as in `CodeCounts`, none if pairs have no price."""

    codes: list[torch.Tensor]
    pairs: list[torch.Tensor]

    @classmethod
    def none(cls, sizes: Sequence[int], device: torch.device) -> Prices:
        return cls([torch.zeros(size, device=device) for size in sizes], [])

    def moved(self, counts: CodeCounts, variance: float, of_codes: float, of_pairs: float) -> Prices:
        """Towards the prices of these counts. variance: of the vectors, of which of_codes and of_pairs, the strengths,
        are shares."""
        device = self.codes[0].device
        codes_step, pairs_step = (min(_MOST, _FASTEST / max(share, 1e-9)) for share in (of_codes, of_pairs))
        codes = []
        for price, count in zip(self.codes, counts.levels, strict=True):
            new = of_codes * variance * np.log((count + 1) / (count.mean() + 1))
            codes.append(price + codes_step * (torch.from_numpy(new.astype(np.float32)).to(device) - price))
        pairs = []
        for level, count in enumerate(counts.pairs if of_pairs else ()):
            here = counts.levels[level + 1]
            before = np.concatenate(counts.levels[: level + 1])
            expected = before[:, None] * (here / max(here.sum(), 1))
            new = of_pairs * variance * np.log((count + 1) / (expected + 1)).clip(min=0)
            price = self.pairs[level] if self.pairs else torch.zeros(count.shape, device=device)
            pairs.append(price + pairs_step * (torch.from_numpy(new.astype(np.float32)).to(device) - price))
        return Prices(codes, pairs)

    def scaled(self, factor: float) -> Prices:
        return Prices([part * factor for part in self.codes], [part * factor for part in self.pairs])

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of an artifact: of pairs, only those that have a price."""
        found = {f"price.{level}": part.cpu().numpy() for level, part in enumerate(self.codes)}
        for level, table in enumerate(self.pairs, 1):
            flat = table.cpu().numpy().ravel()
            places = np.flatnonzero(flat)
            found |= {f"pairs.{level}": places.astype(np.int64), f"pair_price.{level}": flat[places]}
        return found

    @classmethod
    def read(cls, tensors: dict[str, np.ndarray], sizes: Sequence[int]) -> Prices:
        """From what `tensors` gave."""
        codes = [torch.from_numpy(tensors[f"price.{level}"]) for level in range(len(sizes))]
        pairs = []
        for level in range(1, len(sizes)):
            if f"pairs.{level}" not in tensors:
                return cls(codes, [])
            table = torch.zeros(sum(sizes[:level]), sizes[level])
            table.view(-1)[torch.from_numpy(tensors[f"pairs.{level}"])] = torch.from_numpy(
                tensors[f"pair_price.{level}"]
            )
            pairs.append(table)
        return cls(codes, pairs)

    def permuted(self, places: Sequence[np.ndarray]) -> Prices:
        """places: int [K_l] of each level: the old number of each new one."""
        starts = np.cumsum([0, *(len(place) for place in places)])
        codes = [price[torch.from_numpy(place)] for price, place in zip(self.codes, places, strict=True)]
        pairs = []
        for level, table in enumerate(self.pairs, 1):
            rows = np.concatenate([place + start for place, start in zip(places[:level], starts, strict=False)])
            pairs.append(table[torch.from_numpy(rows)][:, torch.from_numpy(places[level])])
        return Prices(codes, pairs)
