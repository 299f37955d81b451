"""Encodes by rounding the scalars of an encoder, and decodes points of the grid: what a fitted FSQ computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.tokenizers.fsq_grid import Grid
from fuseid.tokenizers.fsq_layers import Layers

# Rows of a search for neighbouring cells at a time.
_ROWS = 256


@dataclass(frozen=True)
class FSQCoder:
    """grids: of each level; the dimensions of all levels follow each other. mean: float32 [d], the mean point of the
    vectors that it was fitted on."""

    grids: tuple[Grid, ...]
    encoder: Layers
    decoder: Layers
    mean: torch.Tensor

    def bounded(self, vectors: torch.Tensor) -> torch.Tensor:
        """float32 [N, D] -> float32 [N, d], points of the space of the grid."""
        return torch.cat([grid.bounded(part) for grid, part in self._parts(self.encoder.on_rows(vectors))], dim=1)

    def codes(self, bounded: torch.Tensor) -> np.ndarray:
        """float32 [N, d] -> int32 [N, L]: of the nearest cell."""
        return np.stack([grid.codes(grid.rounded(part).cpu().numpy()) for grid, part in self._parts(bounded)], axis=1)

    def decoded(self, codes_NL: np.ndarray) -> torch.Tensor:
        """int [N, L'] -> float32 [N, D]. Dimensions of the levels beyond L' are at their mean."""
        device = self.mean.device
        points = self.mean.repeat(len(codes_NL), 1)
        start = 0
        for grid, codes in zip(self.grids, np.asarray(codes_NL).T, strict=False):
            stop = start + len(grid.levels)
            points[:, start:stop] = torch.from_numpy(grid.places(codes)).to(device) - (grid.half.to(device) - 0.5)
            start = stop
        return self.decoder.on_rows(points)

    def nearest_cells(self, bounded: torch.Tensor, count: int) -> np.ndarray:
        """float32 [N, d] -> int32 [N, C, L]: the codes of the `count` nearest cells, or all, the nearest first.

        Dimension by dimension, the best `count` cells of the dimensions so far are kept. Distances are sums over
        dimensions, so no cell is missed.
        """
        return np.concatenate([self._nearest(rows, count) for rows in bounded.split(_ROWS)])

    def _nearest(self, bounded: torch.Tensor, count: int) -> np.ndarray:
        rows = len(bounded)
        costs, codes = bounded.new_zeros(rows, 1), np.zeros((rows, 1, 0), np.int32)
        for grid, part in self._parts(bounded):
            places = torch.zeros(rows, costs.shape[1], 0, dtype=torch.int64, device=bounded.device)
            for dimension, level in enumerate(grid.levels):
                points = torch.arange(level, device=bounded.device) - (level - 1) / 2
                steps = (part[:, dimension, None] - points).square()
                total = (costs[:, :, None] + steps[:, None]).flatten(1)
                costs, kept = total.topk(min(count, total.shape[1]), dim=1, largest=False)
                parent = kept // level
                codes = np.take_along_axis(codes, parent.cpu().numpy()[:, :, None], axis=1)
                places = places.gather(1, parent[:, :, None].expand(-1, -1, dimension))
                places = torch.cat([places, (kept % level)[:, :, None]], dim=2)
            codes = np.concatenate([codes, grid.codes(places.cpu().numpy())[:, :, None]], axis=2)
        return codes

    def _parts(self, columns: torch.Tensor) -> list[tuple[Grid, torch.Tensor]]:
        widths = [len(grid.levels) for grid in self.grids]
        return list(zip(self.grids, columns.split(widths, dim=1), strict=True))

    def to(self, device: torch.device) -> FSQCoder:
        return FSQCoder(self.grids, self.encoder.to(device), self.decoder.to(device), self.mean.to(device))

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the artifact."""
        return {"mean": self.mean.numpy()} | self.encoder.tensors("encoder") | self.decoder.tensors("decoder")

    @classmethod
    def of_tensors(
        cls, sizes: Sequence[int], levels: Sequence[Sequence[int]], tensors: dict[str, np.ndarray]
    ) -> FSQCoder:
        grids = tuple(Grid(size, each) for size, each in zip(sizes, levels, strict=True))
        encoder, decoder = (Layers.of_tensors(name, tensors) for name in ("encoder", "decoder"))
        return cls(grids, encoder, decoder, torch.from_numpy(tensors["mean"]))
