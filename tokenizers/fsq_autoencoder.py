"""Trains the autoencoder of FSQ (Mentzer et al. 2023, 3): the squared error of the decoded points, over the variance.
Rounding passes gradients unchanged (straight-through). The start is principal components and the linear decoder of
their points, so that training goes on from a linear quantizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fuseid.core.errors import FitFailed
from fuseid.core.parallel_blocks import on_one_core
from fuseid.core.surface import setting
from fuseid.tokenizers.fsq_coder import FSQCoder
from fuseid.tokenizers.fsq_grid import Grid
from fuseid.tokenizers.fsq_layers import Layers, layers_around
from fuseid.tokenizers.fsq_network import principal_axes

_DECAY = 0.01
_LEAST_STEP, _STEP, _STEPS_PER_EPOCH = 32, 512, 16
# Of the ridge regression that starts the decoder, in rows.
_RIDGE = 1.0


@dataclass(frozen=True)
class AutoencoderSettings:
    """hidden: units of the hidden layers. epochs: passes over the vectors. learning_rate: of AdamW at the first
    step; it falls to zero."""

    hidden: int
    epochs: int
    learning_rate: float
    seed: int


def trained(
    vectors: torch.Tensor, grids: tuple[Grid, ...], settings: AutoencoderSettings, progress: Callable[[int], None]
) -> FSQCoder:
    """vectors: float32 [N, D], all of which fit into memory. progress: called with the number of epochs done. On the
    CPU the result has the same bits for any number of threads. Raises FitFailed if the training diverges."""
    return on_one_core(lambda: _Training(vectors, grids, settings).run(progress))


class _Training:
    """In units in which the vectors have mean 0 and the mean square 1."""

    def __init__(self, vectors: torch.Tensor, grids: tuple[Grid, ...], settings: AutoencoderSettings) -> None:
        self._mean = vectors.double().mean(0).float()
        centred = vectors - self._mean
        self._scale = math.sqrt(float(centred.square().sum(1).double().mean())) or 1.0
        self._rows, self._grids, self._settings = centred / self._scale, grids, settings
        self._half = torch.cat([grid.half for grid in grids]).to(vectors.device)
        self._generator = torch.Generator().manual_seed(settings.seed)

    def run(self, progress: Callable[[int], None]) -> FSQCoder:
        hidden, dims = self._settings.hidden, len(self._half)
        axes = principal_axes(self._rows, dims, self._generator)
        self._encoder = layers_around(axes, axes.new_zeros(dims), hidden, self._generator)
        self._decoder = self._regression(hidden)
        self._descend(progress)
        encoder = self._encoder.standardised(*self._moments()).of_shifted(self._mean, self._scale)
        # The decoder gives vectors in their own units: a deviation of 1 / scale, and minus the mean.
        decoder = self._decoder.standardised(-self._mean / self._scale, torch.full_like(self._mean, 1 / self._scale))
        mean = torch.cat([self._points(part).double() for part in self._parts()]).mean(0).float()
        return FSQCoder(self._grids, encoder, decoder, mean).to(torch.device("cpu"))

    def _regression(self, hidden: int) -> Layers:
        """The linear decoder with the least squared error of the first points."""
        points = torch.cat([self._points(part) for part in self._parts()])
        known = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
        together = (known.T @ known).double()
        together.diagonal().add_(_RIDGE)
        solved = torch.linalg.solve(together, (known.T @ self._rows).double()).float().T
        return layers_around(solved[:, :-1].contiguous(), solved[:, -1].contiguous(), hidden, self._generator)

    def _descend(self, progress: Callable[[int], None]) -> None:
        epochs, count = self._settings.epochs, len(self._rows)
        size = max(_LEAST_STEP, min(_STEP, count // _STEPS_PER_EPOCH))
        steps = max(1, count // size)
        pairs = [self._encoder, self._decoder]
        learned = [tensor.requires_grad_() for each in pairs for tensor in (each.inputs, each.bias, each.output)]
        optimiser = torch.optim.AdamW(learned, lr=self._settings.learning_rate, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * steps)
        for epoch in range(epochs):
            order = torch.randperm(count, generator=self._generator).to(self._rows.device)
            for some in order.split(size)[:steps]:
                rows = self._rows[some]
                scalars = self._encoder(rows)
                z = self._bounded((scalars - scalars.mean(0)) / (scalars.std(0, correction=0) + 1e-6))
                loss = (rows - self._decoder(z + (self._rounded(z) - z).detach())).square().sum(1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            if not all(torch.isfinite(tensor).all() for tensor in (loss, *learned)):
                raise FitFailed(
                    f"FSQ diverged in epoch {epoch + 1} of {epochs}: its loss is {loss.item():.3g}; "
                    f"{setting('tokenizer.learning_rate')} below {self._settings.learning_rate:g} may help"
                )
            progress(epoch + 1)
        for tensor in learned:
            tensor.requires_grad_(False)

    def _points(self, rows: torch.Tensor) -> torch.Tensor:
        mean, deviation = self._moments()
        return self._rounded(self._bounded((self._encoder(rows) - mean) / deviation))

    def _moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the scalars of all rows, float32 [d] each."""
        scalars = torch.cat([self._encoder(part) for part in self._parts()]).double()
        return scalars.mean(0).float(), scalars.std(0, correction=0).clamp(min=1e-6).float()

    def _bounded(self, scalars: torch.Tensor) -> torch.Tensor:
        return torch.cat([grid.bounded(part) for grid, part in self._by_grid(scalars)], dim=1)

    def _rounded(self, bounded: torch.Tensor) -> torch.Tensor:
        """The nearest points of the grid."""
        return torch.cat([grid.rounded(part) for grid, part in self._by_grid(bounded)], dim=1) - (self._half - 0.5)

    def _by_grid(self, columns: torch.Tensor) -> list[tuple[Grid, torch.Tensor]]:
        return list(zip(self._grids, columns.split([len(grid.levels) for grid in self._grids], dim=1), strict=True))

    def _parts(self) -> tuple[torch.Tensor, ...]:
        return self._rows.split(4096)
