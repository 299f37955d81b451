"""The network of a last level of FSQ: from what earlier levels leave of a vector, and from what they decode to, to one
scalar per dimension of the grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch

from fuseid.tokenizers.fsq_grid import Grid


@dataclass(frozen=True)
class FSQNetwork:
    """A linear path and a hidden layer beside it, on the residual r [D] and the coarse vector c [D]:
    y = residual r + coarse c + bias, of which the first d numbers are the linear path and the other H are the hidden
    layer; the scalars are y[:d] + output silu(y[d:]), standardised.

    residual, coarse: float32 [d + H, D]. bias: float32 [d + H]. output: float32 [d, H].
    """

    residual: torch.Tensor
    coarse: torch.Tensor
    bias: torch.Tensor
    output: torch.Tensor

    def scalars(self, residual_ND: torch.Tensor, coarse_ND: torch.Tensor) -> torch.Tensor:
        """-> float32 [N, d]."""
        return self.of_sums(torch.addmm(self.bias, residual_ND, self.residual.T) + coarse_ND @ self.coarse.T)

    def of_sums(self, sums: torch.Tensor) -> torch.Tensor:
        """y [N, d + H] -> float32 [N, d]."""
        linear, hidden = sums.split([len(self.output), self.output.shape[1]], dim=1)
        return linear + torch.nn.functional.silu(hidden) @ self.output.T

    def standardised(self, moments: tuple[torch.Tensor, torch.Tensor], scale: float) -> FSQNetwork:
        """The same of vectors that are not divided by `scale`. moments: mean and deviation [d] of the scalars, which
        become zero and one."""
        mean, deviation = moments
        hidden = self.bias[len(self.output) :]
        rows = torch.cat([1 / deviation, torch.ones_like(hidden)])
        shift = torch.cat([mean / deviation, torch.zeros_like(hidden)])
        return FSQNetwork(
            self.residual * rows[:, None] / scale,
            self.coarse * rows[:, None] / scale,
            self.bias * rows - shift,
            self.output / deviation[:, None],
        )

    def to(self, device: torch.device) -> FSQNetwork:
        return FSQNetwork(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the artifact."""
        return {f"fsq.{each.name}": getattr(self, each.name).contiguous().numpy() for each in fields(self)}

    @classmethod
    def of_tensors(cls, tensors: dict[str, np.ndarray]) -> FSQNetwork:
        return cls(**{each.name: torch.from_numpy(tensors[f"fsq.{each.name}"]) for each in fields(cls)})


def start_of(residual_ND: torch.Tensor, grid: Grid, hidden: int, generator: torch.Generator) -> FSQNetwork:
    """A network whose linear path gives the first principal components, and whose hidden layer adds nothing yet.

    residual_ND: float32 [N, D], divided by its scale. generator: of the CPU.
    """
    dims, dim, device = len(grid.levels), residual_ND.shape[1], residual_ND.device
    axes = principal_axes(residual_ND, dims, generator)
    bound = 1 / math.sqrt(2 * dim)
    inputs = ((torch.rand(hidden, 2 * dim + 1, generator=generator) * 2 - 1) * bound).to(device)
    return FSQNetwork(
        torch.cat([axes, inputs[:, :dim]]),
        torch.cat([torch.zeros_like(axes), inputs[:, dim:-1]]),
        torch.cat([torch.zeros_like(axes[:, 0]), inputs[:, -1]]),
        torch.zeros(dims, hidden, device=device),
    )


def principal_axes(vectors_ND: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """float32 [count, D], divided by the deviation along each: the directions of the largest variance, by subspace
    iteration (Halko et al. 2011, algorithm 4.4). Directions beyond D are random."""
    dim, device = vectors_ND.shape[1], vectors_ND.device
    centred = vectors_ND - vectors_ND.mean(0)
    basis = torch.randn(dim, min(count + 8, dim), generator=generator).to(device)
    for _ in range(8):
        basis = centred.T @ (centred @ torch.linalg.qr(basis).Q)
    basis = torch.linalg.qr(basis).Q
    along = centred @ basis
    turned = torch.linalg.eigh((along.T @ along).double()).eigenvectors.float()
    axes = (basis @ turned.flip(1)).T[:count]
    if len(axes) < count:
        others = torch.randn(count - len(axes), dim, generator=generator) / math.sqrt(dim)
        axes = torch.cat([axes, others.to(device)])
    return axes / (centred @ axes.T).std(0, correction=0).clamp(min=1e-6)[:, None]
