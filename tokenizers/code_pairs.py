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
from fuseid.tokenizers.residual_search import ResidualSearch

# Prices move towards the new ones by this share of the way at most, and no faster than the others per factor e of use,
# in shares of the variance of the level's codewords: the codes of a late level are close to each other, so that a small
# price moves many vectors, and whatever is moved away by too long a step comes back in the next round.
_MOST, _FASTEST_CODES, _FASTEST_PAIRS = 0.5, 0.008, 0.02
# Steps of the prices of codes for one of those of pairs. With too few, prices of codes do not keep up with those of
# pairs, and both swing.
_ROUNDS = 8


@dataclass(frozen=True)
class Prices:
    """codes: float32 [K_l] of each level. pairs: float32 as in `CodeCounts`, none if pairs have no price."""

    codes: list[torch.Tensor]
    pairs: list[torch.Tensor]

    @classmethod
    def none(cls, sizes: Sequence[int], device: torch.device) -> Prices:
        return cls([torch.zeros(size, device=device) for size in sizes], [])

    def moved_codes(self, counts: CodeCounts, energies: Sequence[float], strength: float) -> Prices:
        """Prices of codes after a step towards those of these counts. energies: the variance of the vectors
        and of the codewords of each level, as `energies` gives them. strength: a share of the first."""
        variance, *levels = energies
        codes = []
        for price, count, energy in zip(self.codes, counts.levels, levels, strict=True):
            new = strength * variance * np.log((count + 1) / (count.mean() + 1))
            codes.append(_stepped(price, new, _FASTEST_CODES * energy, strength * variance))
        return Prices(codes, self.pairs)

    def moved_pairs(self, counts: CodeCounts, energies: Sequence[float], strength: float) -> Prices:
        """The same for prices of pairs."""
        variance, *levels = energies
        pairs = []
        for level, count in enumerate(counts.pairs, 1):
            here = counts.levels[level]
            before = np.concatenate(counts.levels[:level])
            expected = before[:, None] * (here / max(here.sum(), 1))
            new = strength * variance * np.log((count + 1) / (expected + 1)).clip(min=0)
            price = self.pairs[level - 1] if self.pairs else torch.zeros(count.shape, device=self.codes[0].device)
            pairs.append(_stepped(price, new, _FASTEST_PAIRS * levels[level], strength * variance))
        return Prices(self.codes, pairs)

    def settled(
        self, rows: torch.Tensor, books: Sequence[torch.Tensor], beam: int, strength: float, variance: float
    ) -> Prices:
        """Prices of codes after some steps, each towards those of the counts that a search with the last ones gives.
        rows: a sample, [n, D]. books: [K_l, D]. variance: of the rows."""
        prices, sizes = self, [len(book) for book in books]
        for _ in range(_ROUNDS):
            codes = ResidualSearch(books, prices.codes, prices.pairs).codes(rows, beam).cpu().numpy()
            counts = CodeCounts.of(codes, sizes)
            prices = prices.moved_codes(counts, energies(books, counts, variance), strength)
        return prices

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


def energies(books: Sequence[torch.Tensor], counts: CodeCounts, variance: float) -> list[float]:
    """variance, and the variance of the codewords, [K_l, D], of each level, weighted by their counts."""
    found = [variance]
    for book, count in zip(books, counts.levels, strict=True):
        words, share = book.detach().double().cpu().numpy(), count / max(int(count.sum()), 1)
        found.append(float(share @ np.square(words - share @ words).sum(1)))
    return found


def _stepped(price: torch.Tensor, new: np.ndarray, fastest: float, strength: float) -> torch.Tensor:
    share = min(_MOST, fastest / max(strength, 1e-30))
    return price + share * (torch.from_numpy(new.astype(np.float32)).to(price.device) - price)
