"""The network of a learned fusion: what it adds to the linear fused vector, nothing before it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fuseid.encoders.blocks import unit_rows
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.fusion_moments import present

_TINY = 1e-6


@dataclass(frozen=True)
class Inputs:
    """Of B items. standard: [B, J], the centred unit vectors of the modalities side by side, scaled to a variance of 1
    per number, zeros for an absent one; has: bool [B, M]; linear: [B, D], the linear fused vectors."""

    standard: torch.Tensor
    has: torch.Tensor
    linear: torch.Tensor

    @classmethod
    def of(cls, linear: Fusion, vectors: Mapping[str, np.ndarray], linear_ND: np.ndarray | None = None) -> Inputs:
        """vectors: as in `Fusion.transform`, each item with at least one modality. linear_ND: their linear fused
        vectors, where they are known."""
        if linear_ND is None:
            linear_ND = linear.transform(vectors)
        parts, has = [], []
        for m, dim in linear.dims.items():
            mean_D = linear.tensors[f"mean.{m}"]
            there = present(vectors[m]) if m in vectors else np.zeros(len(linear_ND), bool)
            part = np.zeros((len(linear_ND), dim), np.float32)
            if there.any():
                # The mean square of a centred unit vector is what the square of the mean leaves of 1.
                left = max(1.0 - float(np.square(mean_D, dtype=np.float64).sum()), _TINY)
                part[there] = (unit_rows(vectors[m][there]) - mean_D) * np.float32((dim / left) ** 0.5)
            parts.append(part)
            has.append(there)
        standard = torch.from_numpy(np.concatenate(parts, axis=1))
        return cls(standard, torch.from_numpy(np.stack(has, axis=1)), torch.from_numpy(linear_ND))

    def to(self, device: torch.device) -> Inputs:
        return Inputs(self.standard.to(device), self.has.to(device), self.linear.to(device))


class Network(nn.Module):
    """For linear fused vectors l and modalities x_m:  l + turn l + second gelu(sum_m g_m first_m x_m + a) + b, of unit
    norm. The gates g_m are a softmax, over the modalities that an item has, of gate_m . x_m + c_m.

    `turn`, `second` and `b` are zero at first, so that the output is l. A single modality needs no gate.
    """

    def __init__(self, dims: Mapping[str, int], dim: int, hidden: int, generator: torch.Generator) -> None:
        """dims: of the modalities, which make up J. dim: D. hidden: H."""
        super().__init__()
        self.dims = list(dims.values())
        first = [torch.randn(hidden, size, generator=generator) / size**0.5 for size in self.dims]
        self.first = nn.Parameter(torch.cat(first, dim=1))
        self.first_offset = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Parameter(torch.zeros(dim, hidden))
        self.second_offset = nn.Parameter(torch.zeros(dim))
        self.turn = nn.Parameter(torch.zeros(dim, dim))
        if len(self.dims) > 1:
            self.gate = nn.Parameter(torch.zeros(sum(self.dims)))
            self.gate_offset = nn.Parameter(torch.zeros(len(self.dims)))

    @classmethod
    def of(cls, dims: Mapping[str, int], tensors: Mapping[str, np.ndarray]) -> Network:
        """From what `arrays` gave."""
        dim, hidden = tensors["second"].shape
        found = cls(dims, dim, hidden, torch.Generator())
        found.load_state_dict({name: torch.from_numpy(part) for name, part in tensors.items()})
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: part.detach().cpu().numpy().copy() for name, part in self.state_dict().items()}

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """-> [B, D]"""
        standard, linear = inputs.standard, inputs.linear
        if len(self.dims) > 1:
            parts = zip(standard.split(self.dims, dim=1), self.gate.split(self.dims), strict=True)
            scores = torch.stack([(part * gate).sum(1) for part, gate in parts], dim=1) + self.gate_offset
            gates = scores.masked_fill(~inputs.has, -torch.inf).softmax(1)
            parts = zip(standard.split(self.dims, dim=1), gates.split(1, dim=1), strict=True)
            standard = torch.cat([part * gate for part, gate in parts], dim=1)
        inside = nn.functional.gelu(standard @ self.first.T + self.first_offset)
        added = linear @ self.turn.T + inside @ self.second.T + self.second_offset
        return nn.functional.normalize(linear + added, dim=1)
