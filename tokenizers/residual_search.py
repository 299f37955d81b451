"""Finds the codes of a vector for given codebooks: greedy or by beam search, with one matrix product and tables.

With codebooks C_1..C_L, codes k_1..k_L and prices p, the cost is |x - sum_l c_l|^2 / 2 + sum_l p_l, and level l adds
|c_l|^2 / 2 + p_l - x.c_l + sum_{j<l} c_j.c_l to the cost of a path. The products x.c_l do not depend on the path, and
c_j.c_l do not depend on x, so one product [N, D] x [D, sum K] and tables [K_j, K_l] suffice for any beam (Babenko and
Lempitsky 2014, sec. 3).

With the extra `fast`, what follows the product is one compiled function (`beam_kernel`), which finds the same codes.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch

from fuseid.core.parallel_blocks import each_block
from fuseid.tokenizers.products import Products

# Rows per matrix product, and rows per beam search: as many as a core's cache can hold with their sums.
_BLOCK, _BEAM_ROWS = 512, 256
# torch selects the k smallest of n with a heap if n is at least this many times k; otherwise it is much slower.
_HEAP = 64
# Rows that a process encodes before it loads the compiled search, which takes as long: about 1 s, or 6 s where it is
# compiled for the first time.
_FEW_ROWS = 200_000
# The compiled search is for numbers up to this, no sums of which overflow.
_LARGE = 1e36
_done = 0


class ResidualSearch:
    """A search prepared for one set of codebooks [K_l, D] and their prices [K_l]."""

    def __init__(
        self, books: Sequence[torch.Tensor], prices: Sequence[torch.Tensor], pairs: Sequence[torch.Tensor] = ()
    ) -> None:
        """pairs: prices of two codes together, [K_1 + .. + K_{l-1}, K_l] for each level l after the first; none by
        default."""
        self._sizes = [len(book) for book in books]
        joined = torch.cat(list(books))
        offsets = joined.square().sum(1) / 2 + torch.cat(list(prices))
        self._products = Products(-joined, offsets, _BLOCK)
        # The table of level l is [K_1 + .. + K_{l-1}, K_l]; `_starts` is where each earlier level's rows begin in it.
        self._tables = [torch.cat(list(books[:level])) @ book.T for level, book in enumerate(books) if level]
        for table, price in zip(self._tables, pairs, strict=False):
            table += price
        self._starts = torch.tensor([0, *self._sizes[:-1]], device=joined.device).cumsum(0)

    def codes(self, vectors: torch.Tensor, beam: int = 1) -> torch.Tensor:
        """float32 [N, D] -> int64 [N, L]; keeps `beam` paths from level to level and returns the best one."""
        global _done
        _done += len(vectors)
        search = self._compiled.search(beam) if _done > _FEW_ROWS and self._compiled else None
        if beam > 1 and search is None:
            return self.candidates(vectors, beam, 1)[:, 0]
        out = torch.empty(len(vectors), len(self._sizes), dtype=torch.int64, device=vectors.device)

        def find(start: int, rows: torch.Tensor, count: int) -> None:
            added, found = self._products(rows), out[start : start + count]
            if search is None:
                found[:] = self._greedy(added)[:count]
            else:
                left = search(added[:count], found).nonzero()[:, 0]
                if len(left):
                    found[left] = self._paths(added[left], beam, 1)[:, 0]

        each_block(vectors, _BLOCK, find)
        return out

    def candidates(self, vectors: torch.Tensor, beam: int, count: int) -> torch.Tensor:
        """float32 [N, D] -> int64 [N, C, L], lowest cost first: `count` complete paths, or all that the beam
        reaches."""
        reached = min(count, min(beam, math.prod(self._sizes[:-1])) * self._sizes[-1])
        out = torch.empty(len(vectors), reached, len(self._sizes), dtype=torch.int64, device=vectors.device)

        def find(start: int, rows: torch.Tensor, real_rows: int) -> None:
            added = self._products(rows)
            for low in range(0, real_rows, _BEAM_ROWS):
                found = self._paths(added[low : low + _BEAM_ROWS], beam, reached)
                out[start + low : start + min(low + _BEAM_ROWS, real_rows)] = found[: real_rows - low]

        each_block(vectors, _BLOCK, find)
        return out

    @cached_property
    def _compiled(self) -> _Compiled | None:
        return _Compiled.of(self._sizes, self._tables)

    def _greedy(self, added: torch.Tensor) -> torch.Tensor:
        """[B, sum K] -> [B, L]."""
        first, *others = added.split(self._sizes, dim=1)
        codes = first.argmin(1, keepdim=True)
        for costs in others:
            codes = torch.cat([codes, self._across(codes).add_(costs).argmin(1, keepdim=True)], dim=1)
        return codes

    def _paths(self, added: torch.Tensor, beam: int, count: int) -> torch.Tensor:
        """[B, sum K] -> [B, count, L], lowest cost first."""
        levels = added.split(self._sizes, dim=1)
        last = len(levels) - 1
        cost = added.new_zeros(len(added), 1)
        paths = torch.zeros(len(added), 1, 0, dtype=torch.int64, device=added.device)
        for level, costs in enumerate(levels):
            if level:
                total = self._across(paths.flatten(0, 1)).view(len(added), -1, self._sizes[level]).add_(costs[:, None])
            else:
                total = costs[:, None]
            if level == last and count == 1:
                parent, code = _least(total, cost)
            else:
                cost, kept = _smallest((total + cost[:, :, None]).flatten(1), count if level == last else beam)
                parent, code = kept // self._sizes[level], kept % self._sizes[level]
            paths = torch.cat([paths.gather(1, parent[:, :, None].expand(-1, -1, level)), code[:, :, None]], dim=2)
        return paths

    def _across(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes of the first l levels, [P, l] -> the sum of their products with each code of the next level: [P, K]."""
        level = codes.shape[1]
        table, at = self._tables[level - 1], codes + self._starts[:level]
        if level == 1:
            return table.index_select(0, at[:, 0])
        return torch.nn.functional.embedding_bag(at, table, mode="sum")


class _Compiled:
    """The compiled search for the codebooks of these sizes and tables; see `beam_kernel`."""

    def __init__(self, sizes: Sequence[int], tables: Sequence[torch.Tensor]) -> None:
        self._sizes = np.array(sizes)
        self._tables = torch.cat([*(table.flatten() for table in tables), torch.zeros(max(sizes))]).numpy()
        self._offsets = np.cumsum([0, 0, *(table.numel() for table in tables[:-1])])

    @classmethod
    def of(cls, sizes: Sequence[int], tables: Sequence[torch.Tensor]) -> _Compiled | None:
        """None where it cannot be used: without numba, for one level, on another device, for enormous numbers."""
        usable = tables and tables[0].device.type == "cpu" and importlib.util.find_spec("numba") is not None
        return cls(sizes, tables) if usable and all(_moderate(table) for table in tables) else None

    def search(self, beam: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
        """(added [B, sum K], codes [B, L] to be written) -> bool [B], rows whose codes are left to be found. None for a
        beam that it does not have."""
        kernel = _kernel()
        if not 1 < beam <= min(kernel.MOST_PATHS, self._sizes[0]):
            return None

        def find(added: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            left = torch.ones(len(added), dtype=torch.bool)
            if _moderate(added):
                arrays = self._sizes, self._tables, self._offsets
                kernel.search(added.numpy(), *arrays, beam, codes.numpy(), left.numpy())
            return left

        return find


@cache
def _kernel() -> Any:
    return importlib.import_module("fuseid.tokenizers.beam_kernel")


def _moderate(numbers: torch.Tensor) -> bool:
    low, high = numbers.aminmax()
    return float(low) > -_LARGE and float(high) < _LARGE


def _least(total: torch.Tensor, cost: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, P, K], and the cost of each path [B, P] -> the path and the code, [B, 1] each, with the lowest sum."""
    parent = (total.amin(2) + cost).argmin(1, keepdim=True)
    rows = torch.arange(0, total.shape[0] * total.shape[1], total.shape[1], device=total.device)
    return parent, total.flatten(0, 1).index_select(0, rows + parent[:, 0]).argmin(1, keepdim=True)


def _smallest(costs: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, n] -> the `count` smallest values of each row (or all) and their positions; like topk, but faster."""
    width, count = costs.shape[1], min(count, costs.shape[1])
    if width % _HEAP or width < 2 * _HEAP * count:
        padded = torch.nn.functional.pad(costs, (0, max(_HEAP * count - width, 0)), value=torch.inf)
        return padded.topk(count, dim=1, largest=False)
    # The smallest values are in the groups with the smallest minimum.
    groups = costs.view(-1, _HEAP)
    kept = groups.amin(1).view(len(costs), -1).topk(count, dim=1, largest=False, sorted=False).indices
    starts = torch.arange(0, len(groups), width // _HEAP, device=costs.device)
    inside = groups.index_select(0, (kept + starts[:, None]).flatten()).view(len(costs), -1)
    values, at = inside.topk(count, dim=1, largest=False)
    return values, kept.gather(1, at // _HEAP) * _HEAP + at % _HEAP
