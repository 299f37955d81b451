"""The principal components of the completed joint vectors, from their moments (Pearson 1901)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fuseid.encoders.fusion_fill import Filled
from fuseid.encoders.fusion_moments import Moments, Pattern, SampleMoments, columns_of


@dataclass(frozen=True)
class Components:
    """mean: of the completed vectors, float64 [J]; axes: the first components, [J, dim]; kept: the share of the
    variance that they explain. dims: of the modalities that make up J."""

    dims: dict[str, int]
    mean: torch.Tensor
    axes: torch.Tensor
    kept: float

    @classmethod
    def of(cls, moments: SampleMoments, fills: Mapping[Pattern, Filled], dim: int) -> Components:
        joint = completed(moments, fills)
        mean = joint.sums / joint.rows
        values, axes = torch.linalg.eigh(joint.products - joint.rows * torch.outer(mean, mean))
        values, axes = values.flip(0).clamp_(min=0), axes.flip(1)[:, :dim]
        # The sign of an eigenvector is arbitrary: fix it, so that the same sample gives the same artifact.
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        total = float(values.sum())
        kept = float(values[:dim].sum()) / total if total > 0 else 1.0
        return cls(moments.dims, mean, torch.where(largest < 0, -axes, axes), kept)

    def affine(self, pattern: Pattern, fill: Filled) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrix [sum of D_m, dim] and the shift [dim] from the centred and weighted vectors of a pattern to the
        components of the completed vector."""
        blocks = {m: self.axes[columns_of((m,), tuple(self.dims), self.dims)] for m in self.dims}
        matrix = torch.cat([blocks[m] for m in pattern]) * fill.scale
        shift = -self.mean @ self.axes
        for m, learned in fill.maps.items():
            matrix += learned @ blocks[m]
        for m, value in fill.fixed.items():
            shift += value @ blocks[m]
        return matrix, shift


def completed(moments: SampleMoments, fills: Mapping[Pattern, Filled]) -> Moments:
    """The moments of the joint vectors of the sample, absent modalities filled in."""
    every = tuple(moments.dims)
    size = sum(moments.dims.values())
    joint = Moments(0, torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64))
    for pattern, known in moments.exactly():
        fill = fills[pattern]
        at = columns_of(pattern, every, moments.dims)
        joint.sums[at] += fill.scale * known.sums
        joint.products[at[:, None], at] += fill.scale**2 * known.products
        # An absent modality is the map of the present ones plus a fixed value.
        absent = [m for m in every if m in fill.maps or m in fill.fixed]
        if absent:
            gone = columns_of(tuple(absent), every, moments.dims)
            zeros = {m: torch.zeros(len(known.sums), moments.dims[m], dtype=torch.float64) for m in absent}
            learned = torch.cat([fill.maps.get(m, zeros[m]) for m in absent], dim=1)
            value = torch.cat([fill.fixed.get(m, zeros[m][0]) for m in absent])
            of_map = learned.T @ known.sums
            across = known.products @ learned
            joint.sums[gone] += of_map + known.rows * value
            both = fill.scale * (across + torch.outer(known.sums, value))
            joint.products[at[:, None], gone] += both
            joint.products[gone[:, None], at] += both.T
            once = torch.outer(of_map, value)
            joint.products[gone[:, None], gone] += (
                learned.T @ across + once + once.T + known.rows * torch.outer(value, value)
            )
        joint = Moments(joint.rows + known.rows, joint.sums, joint.products)
    return joint
