"""Learns a last level of FSQ: a network, and what each cell of the grid decodes to.

Two terms are minimised by gradients. One is the squared error, over the share of the vectors' variance. The other is
the repulsion: how many items of the same earlier codes are expected to get the same cell. Rounding has no gradient;
in its place a vector is given to every cell with a probability, the softmax of its costs, whose temperature falls until
it is nearly the cell with the least cost. The expected error and the expected number of collisions of two items, the
sum over cells of p_i(k) p_j(k), are then exact, and need no estimate such as straight-through.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.core.errors import FitFailed
from fuseid.core.parallel_blocks import on_one_core
from fuseid.core.row_blocks import Block, Blocks
from fuseid.core.surface import setting
from fuseid.tokenizers.block_codes import BlockCodes
from fuseid.tokenizers.code_counts import normalised_entropy
from fuseid.tokenizers.fsq_grid import Grid
from fuseid.tokenizers.fsq_network import start_of
from fuseid.tokenizers.residual_fsq import FSQLevel

# Vectors to learn from, about; and the least number of prefixes from which they come, if there are as many.
_ROWS, _PREFIXES = 1 << 16, 1 << 10
_HIDDEN = 128
# The weight of distances on the grid: relative to the mean squared residual, and to the variance of the grid's points.
_GRID_WEIGHT = 0.05
# Of the softmax, relative to the mean squared residual.
_FIRST_TEMPERATURE, _LAST_TEMPERATURE = 0.025, 0.005
_START_ROUNDS = 4
_RATE, _TABLE_RATE, _DECAY = 1e-3, 0.02, 0.01
# Rows of a step; fewer if there are few rows, or very many cells.
_LEAST_STEP, _STEP, _STEPS_PER_EPOCH, _COSTS = 64, 2048, 16, 1 << 24
# Each item repels the next ones of its prefix, in random order, as many as this.
_NEXT = 8
# A level with a lower normalised entropy has collapsed.
_LEAST_ENTROPY = 0.5


@dataclass(frozen=True)
class FSQSettings:
    """epochs: passes over the vectors that a level is learned from. repulsion: the share of the variance that one
    expected collision per item is worth."""

    grid: Grid
    epochs: int
    repulsion: float
    seed: int


def learned(blocks: Blocks, codes: BlockCodes, variance: float, settings: FSQSettings) -> tuple[torch.Tensor, FSQLevel]:
    """The codebook float32 [K, D] of a level, and its network. Learned on about 65,536 vectors, all of some prefixes;
    on the CPU the result has the same bits for any number of threads.

    codes: of the levels before. variance: the mean squared distance of the vectors to their mean. Raises FitFailed if
    the training diverges.
    """
    parts = list(blocks.map(_Picked.of(blocks.rows, codes, settings.seed)))
    device = codes.books[0].device
    rows_ND = torch.from_numpy(np.concatenate([rows for rows, _ in parts])).to(device)
    codes_NL = torch.from_numpy(np.concatenate([found for _, found in parts])).to(device, torch.int64)
    return on_one_core(_Training(rows_ND, codes_NL, codes.books, variance, settings).run)


def check_entropy(counts_K: np.ndarray, level: int, keys: Sequence[str]) -> None:
    """Raises FitFailed if the codes of a learned level are used too unevenly. counts_K: vectors of each code. keys:
    what to change in the configuration."""
    entropy = normalised_entropy(counts_K)
    if entropy < _LEAST_ENTROPY:
        raise FitFailed(
            f"level {level} collapsed: the normalised entropy of its codes is {entropy:.2f}, below {_LEAST_ENTROPY:g}; "
            f"change {' or '.join(setting(f'tokenizer.{key}') for key in keys)}"
        )


@dataclass(frozen=True)
class _Picked:
    """The rows of a block whose prefix is in the share of `limit` / 2^32 of all, by a hash; of these each with
    probability `kept`. -> float32 [n, D], codes int32 [n, L - 1]."""

    codes: BlockCodes
    limit: int
    kept: float
    seed: int

    @classmethod
    def of(cls, rows: int, codes: BlockCodes, seed: int) -> _Picked:
        prefixes = math.prod(len(book) for book in codes.books)
        share = min(1.0, max(_ROWS / rows, _PREFIXES / prefixes))
        return cls(codes, int(share * 2**32), min(1.0, _ROWS / (rows * share)), seed)

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        found = self.codes.codes(block).numpy()
        kept = _hashes(found) >> np.uint64(32) < self.limit
        if self.kept < 1:
            kept &= np.random.default_rng((self.seed, block.number)).random(len(kept)) < self.kept
        rows, start = [], 0
        for chunk in block.chunks():
            rows.append(chunk.numpy()[kept[start : start + len(chunk)]])
            start += len(chunk)
        return np.concatenate(rows), found[kept]


def _hashes(codes_NL: np.ndarray) -> np.ndarray:
    """uint64 [N]: the multiplicative hash of the codes, mixed as by SplitMix64 (Steele et al. 2014)."""
    out = np.zeros(len(codes_NL), np.uint64)
    for column in codes_NL.T:
        out = (out ^ (column.astype(np.uint64) + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
        out ^= out >> np.uint64(31)
    return out


class _Training:
    """In units in which the mean squared residual is one."""

    def __init__(
        self,
        rows_ND: torch.Tensor,
        codes_NL: torch.Tensor,
        books: Sequence[torch.Tensor],
        variance: float,
        settings: FSQSettings,
    ) -> None:
        coarse = torch.stack([book[codes_NL[:, level]] for level, book in enumerate(books)]).sum(0)
        left = rows_ND - coarse
        energy = float(left.square().sum(1).double().mean())
        self._scale = math.sqrt(energy) or 1.0
        self._share = energy / variance if variance > 0 else 1.0
        self._left, self._coarse = left / self._scale, coarse / self._scale
        self._prefix = torch.unique(codes_NL, dim=0, return_inverse=True)[1]
        self._settings, self._grid = settings, settings.grid
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._points = settings.grid.points().to(rows_ND.device)
        self._weight = _GRID_WEIGHT / sum((level**2 - 1) / 12 for level in self._grid.levels)

    def run(self) -> tuple[torch.Tensor, FSQLevel]:
        self._network = start_of(self._left, self._grid, _HIDDEN, self._generator)
        self._table = self._started()
        self._descend()
        network = self._network.standardised(self._moments(), self._scale).to(torch.device("cpu"))
        level = FSQLevel(self._grid, self._grid.points(), network, self._weight * self._scale**2)
        return self._table * self._scale, level

    def _started(self) -> torch.Tensor:
        """A table for the untrained network: first of the rounded cells, then of those with the least cost."""
        table = self._left.new_zeros(self._grid.size, self._left.shape[1])
        moments = self._moments()
        for turn in range(1 + _START_ROUNDS):
            counts, sums = table.new_zeros(len(table)), 0.01 * table
            for rows in self._parts():
                left = self._left[rows]
                z = self._bounded(rows, moments)
                if turn:
                    cells = (self._errors(left, table) + self._distances(z)).argmin(1)
                else:
                    places = self._grid.rounded(z).cpu().numpy()
                    cells = torch.from_numpy(self._grid.codes(places)).to(left.device, torch.int64)
                sums.index_add_(0, cells, left)
                counts += torch.bincount(cells, minlength=len(table))
            table = sums / (counts + 0.01)[:, None]
        return table

    def _descend(self) -> None:
        epochs, repulsion = self._settings.epochs, self._settings.repulsion
        rows, cells = self._left.shape[0], self._grid.size
        size = max(_LEAST_STEP, min(_STEP, rows // _STEPS_PER_EPOCH, _COSTS // cells))
        steps = max(1, rows // size)
        network = [getattr(self._network, name) for name in ("residual", "coarse", "bias", "output")]
        learned = [tensor.requires_grad_() for tensor in (*network, self._table)]
        table_rate = _TABLE_RATE / math.sqrt(self._left.shape[1])
        groups = [
            {"params": learned[:-1], "lr": _RATE, "weight_decay": _DECAY},
            {"params": learned[-1:], "lr": table_rate, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
        done = 0
        for epoch in range(epochs):
            for some in self._shuffled().split(size)[:steps]:
                temperature = _FIRST_TEMPERATURE * (_LAST_TEMPERATURE / _FIRST_TEMPERATURE) ** (done / epochs / steps)
                optimiser.zero_grad()
                loss = self._loss(some, temperature, repulsion)
                loss.backward()
                optimiser.step()
                schedule.step()
                done += 1
            if not all(torch.isfinite(tensor).all() for tensor in (loss, *learned)):
                raise FitFailed(
                    f"the last level diverged in epoch {epoch + 1} of {epochs}: its loss is {loss.item():.3g}; "
                    f"a lower {setting('tokenizer.fsq_repulsion')} than {repulsion:g} may help, "
                    f"or {setting('tokenizer.last')}: kmeans"
                )
        for tensor in learned:
            tensor.requires_grad_(False)

    def _loss(self, rows: torch.Tensor, temperature: float, repulsion: float) -> torch.Tensor:
        left, prefix = self._left[rows], self._prefix[rows]
        scalars = self._network.scalars(left, self._coarse[rows])
        z = self._grid.bounded((scalars - scalars.mean(0)) / (scalars.std(0, correction=0) + 1e-6))
        errors = self._errors(left, self._table)
        shares = torch.softmax((errors + self._distances(z)) / -temperature, dim=1)
        loss = 2 * self._share * (shares * errors).sum(1).mean()
        for step in range(1, min(_NEXT, len(rows) - 1) + 1):
            first = (prefix[step:] == prefix[:-step]).nonzero()[:, 0]
            loss = loss + (2 * repulsion / len(rows)) * (shares[first] * shares[first + step]).sum()
        return loss

    def _errors(self, left: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Half the squared errors [B, K], without the part that all cells have."""
        return table.square().sum(1) / 2 - left @ table.T

    def _distances(self, z: torch.Tensor) -> torch.Tensor:
        """Half the squared distances on the grid, weighted, without the part that all cells have."""
        return self._weight * (self._points.square().sum(1) / 2 - z @ self._points.T)

    def _bounded(self, rows: torch.Tensor, moments: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        scalars = self._network.scalars(self._left[rows], self._coarse[rows])
        return self._grid.bounded((scalars - moments[0]) / moments[1])

    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the scalars of all rows, float32 [d] each."""
        parts = [self._network.scalars(self._left[rows], self._coarse[rows]) for rows in self._parts()]
        scalars = torch.cat(parts).double()
        return scalars.mean(0).float(), scalars.std(0, correction=0).clamp(min=1e-6).float()

    def _parts(self) -> Iterator[torch.Tensor]:
        return iter(torch.arange(len(self._left), device=self._left.device).split(_STEP))

    def _shuffled(self) -> torch.Tensor:
        """All rows; those of a prefix follow each other, prefixes and rows in random order."""
        count = len(self._left)
        turns = torch.randperm(int(self._prefix.max()) + 1, generator=self._generator).to(self._prefix.device)
        order = torch.randperm(count, generator=self._generator).to(self._prefix.device)
        return order[torch.argsort(turns[self._prefix[order]], stable=True)]
