"""The codes of a vector under given codebooks: greedy or by beam, from one matrix product and look-up tables.

With codebooks C_1..C_L, codes k_1..k_L and prices p, the cost is |x - sum_l c_l|^2 / 2 + sum_l p_l, and what level l
adds to a path is |c_l|^2 / 2 + p_l - x.c_l + sum_{j<l} c_j.c_l. The first products do not depend on the path and the
last do not depend on x, so one product [N, D] x [D, sum K] and tables [K_j, K_l] serve any beam (Babenko and Lempitsky
2014, sec. 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from fuseid.tokenizers.kmeans import padded_blocks

# Rows at a time, a constant for the same reason as in kmeans: of a greedy search, and of one by beam.
_GREEDY_BLOCK, _BEAM_BLOCK = 1024, 256


class ResidualSearch:
    """Prepared for one set of codebooks [K_l, D] and their prices [K_l]."""

    def __init__(self, books: Sequence[torch.Tensor], prices: Sequence[torch.Tensor]) -> None:
        self._sizes = [len(book) for book in books]
        joined = torch.cat(list(books))
        self._across = joined.T.contiguous()
        self._offsets = joined.square().sum(1) / 2 + torch.cat(list(prices))
        self._tables = [
            [(before @ book.T).contiguous() for before in books[:level]] for level, book in enumerate(books)
        ]

    def codes(self, vectors: torch.Tensor, beam: int = 1) -> torch.Tensor:
        """float32 [N, D] -> int64 [N, L]; `beam` paths are kept from level to level, the best one is returned."""
        out = torch.empty(len(vectors), len(self._sizes), dtype=torch.int64, device=vectors.device)
        search = self._greedy if beam == 1 else self._beam
        for start, rows, count in padded_blocks(vectors, _GREEDY_BLOCK if beam == 1 else _BEAM_BLOCK):
            out[start : start + count] = search(self._added(rows), beam)[:count]
        return out

    def candidates(self, vectors: torch.Tensor, beam: int, count: int) -> torch.Tensor:
        """float32 [N, D] -> int64 [N, C, L], cheapest first: `count` complete paths, or all that the beam reaches."""
        reached = min(count, min(beam, math.prod(self._sizes[:-1])) * self._sizes[-1])
        out = torch.empty(len(vectors), reached, len(self._sizes), dtype=torch.int64, device=vectors.device)
        for start, rows, there in padded_blocks(vectors, _BEAM_BLOCK):
            out[start : start + there] = self._paths(self._added(rows), beam, reached)[:there]
        return out

    def _added(self, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        return torch.addmm(self._offsets, rows, self._across, alpha=-1).split(self._sizes, dim=1)

    def _greedy(self, added: Sequence[torch.Tensor], beam: int) -> torch.Tensor:
        codes: list[torch.Tensor] = []
        for level, costs in enumerate(added):
            for table, before in zip(self._tables[level], codes, strict=True):
                costs = costs + table[before]
            codes.append(costs.argmin(1))
        return torch.stack(codes, 1)

    def _beam(self, added: Sequence[torch.Tensor], beam: int) -> torch.Tensor:
        return self._paths(added, beam, 1)[:, 0]

    def _paths(self, added: Sequence[torch.Tensor], beam: int, count: int) -> torch.Tensor:
        rows = len(added[0])
        cost = added[0].new_zeros(rows, 1)
        paths = torch.zeros(rows, 1, 0, dtype=torch.int64, device=cost.device)
        for level, costs in enumerate(added):
            total = costs[:, None, :] + cost[:, :, None]
            for place, table in enumerate(self._tables[level]):
                total += table[paths[:, :, place]]
            flat = total.flatten(1)
            keep = count if level == len(added) - 1 else min(beam, flat.shape[1])
            cost, kept = flat.min(1, keepdim=True) if keep == 1 else flat.topk(keep, dim=1, largest=False)
            parent, code = kept // self._sizes[level], kept % self._sizes[level]
            paths = torch.cat([paths.gather(1, parent[:, :, None].expand(-1, -1, level)), code[:, :, None]], dim=2)
        return paths


def refine(
    vectors: torch.Tensor, codes: torch.Tensor, books: Sequence[torch.Tensor], pull: float = 0.01
) -> list[torch.Tensor]:
    """The codebooks that serve these codes best, all levels at once: least squares on the one-hot codes, drawn by
    `pull` towards where they stand, which keeps codes without members (Babenko and Lempitsky 2014, sec. 3.1).

    vectors float32 [N, D], codes int64 [N, L].
    """
    sizes = [len(book) for book in books]
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    joined = torch.cat(list(books)).double()
    together = torch.zeros(starts[-1], starts[-1], dtype=torch.float64, device=vectors.device)
    sums = torch.zeros(starts[-1], vectors.shape[1], dtype=torch.float32, device=vectors.device)
    for level, size in enumerate(sizes):
        rows = slice(starts[level], starts[level + 1])
        sums[rows].index_add_(0, codes[:, level], vectors)
        for other in range(level, len(sizes)):
            columns = slice(starts[other], starts[other + 1])
            pairs = torch.bincount(codes[:, level] * sizes[other] + codes[:, other], minlength=size * sizes[other])
            counts = pairs.view(size, sizes[other]).double()
            together[rows, columns], together[columns, rows] = counts, counts.T
    together.diagonal().add_(pull)
    solved = torch.linalg.solve(together, sums.double() + pull * joined).float()
    return [part.contiguous() for part in solved.split(sizes)]
