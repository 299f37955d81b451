"""A last level of FSQ after residual codebooks: which cell of the grid a vector gets, and the search over all levels.

The last code is one cell of a `Grid`, and decodes to one vector, as the codes of other levels do: so all that is known
of residual codebooks holds. It is not the nearest one, though. A network gives each vector a point z of the grid's
space, and the vector gets the cell k with the least |r - t_k|^2 / 2 + weight |z - g_k|^2 / 2: r is what the levels
before leave, t_k what the cell decodes to, g_k its point. The network was trained so that items of equal earlier codes
get different cells; `fsq_training` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fuseid.core.parallel_blocks import each_block
from fuseid.core.row_blocks import Block
from fuseid.tokenizers.block_codes import BeamCodes, Tensors, kept_codes
from fuseid.tokenizers.fsq_grid import Grid
from fuseid.tokenizers.fsq_network import FSQNetwork
from fuseid.tokenizers.products import Products
from fuseid.tokenizers.residual_search import ResidualSearch

_BLOCK = 512


@dataclass(frozen=True)
class FSQLevel:
    """points: float32 [K, d], the grid point of each code: those of `grid`, in their order unless codes are
    renumbered. weight: of a squared distance on the grid, in squared units of the vectors. All is on the CPU."""

    grid: Grid
    points: torch.Tensor
    network: FSQNetwork
    weight: float

    def permuted(self, place_K: np.ndarray) -> FSQLevel:
        """Code k has the point that code place_K[k] has here."""
        return FSQLevel(self.grid, self.points[torch.from_numpy(place_K)], self.network, self.weight)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the artifact."""
        weight = np.array([self.weight], np.float32)
        return {"fsq.points": self.points.numpy(), "fsq.weight": weight} | self.network.tensors()

    @classmethod
    def of_tensors(cls, levels: Sequence[int], tensors: dict[str, np.ndarray]) -> FSQLevel:
        points, weight = torch.from_numpy(tensors["fsq.points"]), float(tensors["fsq.weight"][0])
        return cls(Grid(len(points), levels), points, FSQNetwork.of_tensors(tensors), weight)


class FSQSearch:
    """books: float32 [K_l, D] of all levels, prices: float32 [K_l]; the last level is that of `level`."""

    def __init__(self, books: Sequence[torch.Tensor], prices: Sequence[torch.Tensor], level: FSQLevel) -> None:
        device = books[0].device
        self._all = ResidualSearch(books, prices)
        self._prefixes = ResidualSearch(books[:-1], prices[:-1])
        self._grid, network, points = level.grid, level.network.to(device), level.points.to(device)
        table, self._size = books[-1], len(books[-1])
        self._coarse, self._prices = torch.cat(list(books[:-1])), torch.cat(list(prices[:-1]))
        self._starts = torch.tensor([0, *(len(book) for book in books[:-2])], device=device).cumsum(0)
        # With r = x - c, what the errors and the network need of r is a product of x and a sum of rows of a table.
        weights = torch.cat([-table, network.residual])
        offsets = torch.cat([table.square().sum(1) / 2 + prices[-1], network.bias])
        self._products = Products(weights, offsets, _BLOCK)
        self._table = self._coarse @ torch.cat([table, network.coarse - network.residual]).T
        self._output = Products(network.output, torch.zeros(len(network.output), device=device), _BLOCK)
        nearness = points.square().sum(1) * (level.weight / 2)
        self._nearness = Products(points * -level.weight, nearness, _BLOCK)

    def codes(self, vectors: torch.Tensor, beam: int = 1) -> torch.Tensor:
        """float32 [N, D] -> int64 [N, L]: of the `beam` best paths of the levels before, each with its cell, the one
        with the least error and prices. Ties go to the better path, then to the lower code."""
        paths = self._prefixes.candidates(vectors, beam, beam)
        out = torch.empty(len(vectors), paths.shape[2] + 1, dtype=torch.int64, device=vectors.device)

        def find(start: int, rows: torch.Tensor, count: int) -> None:
            some = paths[start : start + count]
            if count < len(rows):
                some = torch.cat([some, some.new_zeros(len(rows) - count, *some.shape[1:])])
            out[start : start + count] = self._best(rows, some)[:count]

        each_block(vectors, _BLOCK, find)
        return out

    def candidates(self, vectors: torch.Tensor, beam: int, count: int) -> torch.Tensor:
        """float32 [N, D] -> int64 [N, C, L], lowest error first, as by `ResidualSearch`: any cell can follow a path,
        so the first is at least as near as `codes`."""
        return self._all.candidates(vectors, beam, count)

    def _best(self, rows: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
        """[B, D], [B, P, L - 1] -> [B, L]."""
        own = self._products(rows)
        costs, cells = [], []
        for path in range(paths.shape[1]):
            at = paths[:, path] + self._starts
            sums = torch.nn.functional.embedding_bag(at, self._table, mode="sum").add_(own)
            errors, linear, hidden = sums.split(
                [self._size, len(self._grid.levels), sums.shape[1] - self._size - len(self._grid.levels)], dim=1
            )
            scalars = self._output(torch.nn.functional.silu(hidden.contiguous())) + linear
            cell = (self._nearness(self._grid.bounded(scalars)) + errors).argmin(1, keepdim=True)
            left = rows - torch.nn.functional.embedding_bag(at, self._coarse, mode="sum")
            before = left.square().sum(1) / 2 + self._prices[at].sum(1)
            costs.append(before + errors.gather(1, cell)[:, 0])
            cells.append(cell)
        best = torch.stack(costs, 1).argmin(1, keepdim=True)
        prefix = paths.gather(1, best[:, :, None].expand(-1, -1, paths.shape[2]))[:, 0]
        return torch.cat([prefix, torch.cat(cells, 1).gather(1, best)], dim=1)


@dataclass(frozen=True)
class FSQCodes:
    """The `BlockCodes` of this search."""

    books: Tensors
    prices: Tensors
    beam: int
    level: FSQLevel
    key: str = field(init=False)

    def __post_init__(self) -> None:
        network = self.level.network
        level = (network.residual, network.coarse, network.bias, network.output, self.level.points)
        object.__setattr__(self, "key", "fsq " + BeamCodes((*self.books, *level), self.prices, self.beam).key)

    def codes(self, block: Block) -> torch.Tensor:
        return kept_codes(block, self.key, lambda rows: self._search.codes(rows, self.beam), self.books[0].device)

    @cached_property
    def _search(self) -> FSQSearch:
        return FSQSearch(self.books, self.prices, self.level)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_search"}
