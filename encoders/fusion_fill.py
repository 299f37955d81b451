"""How an item's absent modalities are filled in: by default predicted from its present ones, with linear maps that are
learned on items that have both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from fuseid.encoders.fusion_moments import HELD_OUT, LEARNING, Moments, Pattern, SampleMoments, patterns

Fill = Literal["linear", "renormalise", "mean", "zero"]
# With fewer items than this that have both sides, nothing is learned: the absent side is set to its mean.
MIN_ROWS = 16
# Ridge penalties to try, in units of the mean variance of the predictors; the largest almost predicts the mean.
_PENALTIES = tuple(10.0**power for power in np.arange(-3.0, 4.5, 0.5))

# Of so many modalities every pattern is learned, also one that does not occur yet.
_FEW = 4


@dataclass(frozen=True)
class Filled:
    """How a pattern is completed. scale: of its vectors; maps: from them, joined, to each absent modality, float64
    [J, D_m]; fixed: values of absent ones, [D_m]; what neither has is zero. explained: the share of an absent
    modality's variance that its map explains on held-out rows."""

    scale: float = 1.0
    maps: dict[str, torch.Tensor] = field(default_factory=dict)
    fixed: dict[str, torch.Tensor] = field(default_factory=dict)
    explained: dict[str, float] = field(default_factory=dict)


def learned_patterns(moments: SampleMoments) -> list[Pattern]:
    """The patterns to learn maps for: all of a few modalities; of more, those that occur and those of one modality."""
    every = patterns(tuple(moments.dims))
    return [p for p in every if len(moments.dims) <= _FEW or len(p) == 1 or p in moments.by_pattern]


def filled(fill: Fill, pattern: Pattern, moments: SampleMoments, weights: Mapping[str, float]) -> Filled:
    """moments: of weighted vectors."""
    absent = [m for m in moments.dims if m not in pattern]
    if fill == "linear":
        maps, explained = learn_fill(moments, pattern)
        return Filled(maps=maps, explained=explained)
    if fill == "renormalise":
        squares = {m: weights[m] ** 2 for m in moments.dims}
        return Filled(scale=float(np.sqrt(sum(squares.values()) / sum(squares[m] for m in pattern))))
    if fill == "zero":
        return Filled(fixed={m: -weights[m] * torch.from_numpy(moments.means[m]).double() for m in absent})
    return Filled()


def learn_fill(moments: SampleMoments, pattern: Pattern) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """Ridge regression (Hoerl and Kennard 1970) of each absent modality on the present ones.

    If a present modality has as many dimensions as the absent one, the penalty shrinks the map towards a multiple of
    the identity, not towards zero: CLIP's images and texts share a space, which a small sample could not teach.

    moments: of weighted vectors. -> (per absent modality a map float64 [sum of present D, D_m], and the share of its
    variance that the map explains on held-out rows). An absent modality that cannot be predicted better than by its
    mean has a map of zeros and a share of 0.
    """
    maps, explained = {}, {}
    dims = [moments.dims[m] for m in pattern]
    for absent in (m for m in moments.dims if m not in pattern):
        maps[absent], explained[absent] = torch.zeros(sum(dims), moments.dims[absent], dtype=torch.float64), 0.0
        learning, held_out = (_Relation.of(moments.having((*pattern, absent), f), dims) for f in (LEARNING, HELD_OUT))
        if learning.rows + held_out.rows < MIN_ROWS or learning.rows * held_out.rows == 0 or not learning.varies:
            continue
        left = _errors(learning, held_out)
        best = int(np.argmin(left))
        if left[best] < held_out.spread:
            maps[absent] = learning.joined(held_out).map(_PENALTIES[best])
            explained[absent] = 1.0 - left[best] / held_out.spread
    return maps, explained


@dataclass(frozen=True)
class _Relation:
    """Between predictors p and wanted values w of some rows. dims: of the modalities that make up p. gram: sum of p p',
    [P, P]; cross: of p w', [P, W]; spread: of |w|^2; float64."""

    dims: Sequence[int]
    rows: int
    gram: torch.Tensor
    cross: torch.Tensor
    spread: float

    @classmethod
    def of(cls, moments: Moments, dims: Sequence[int]) -> _Relation:
        """moments: of the predictors joined with the wanted values."""
        size = sum(dims)
        known, cross = moments.products[:size].split([size, len(moments.sums) - size], dim=1)
        return cls(dims, moments.rows, known, cross, float(moments.products[size:, size:].trace()))

    @property
    def unit(self) -> float:
        """The mean variance of a predictor, times the rows."""
        return float(self.gram.diagonal().mean())

    @property
    def varies(self) -> bool:
        return self.unit > np.finfo(float).tiny / min(_PENALTIES)

    def joined(self, other: _Relation) -> _Relation:
        rows, spread = self.rows + other.rows, self.spread + other.spread
        return _Relation(self.dims, rows, self.gram + other.gram, self.cross + other.cross, spread)

    def prior(self) -> torch.Tensor:
        """The least-squares map that scales each part with as many columns as `wanted` and ignores the others."""
        size = self.cross.shape[1]
        ends = np.cumsum(self.dims).tolist()
        same = [slice(end - dim, end) for end, dim in zip(ends, self.dims, strict=True) if dim == size]
        prior = torch.zeros_like(self.cross)
        if same:
            gram = [[float(self.gram[one, other].trace()) for other in same] for one in same]
            wanted = [float(self.cross[one].trace()) for one in same]
            for at, scale in zip(same, np.linalg.lstsq(np.array(gram), np.array(wanted))[0], strict=True):
                prior[at].diagonal().fill_(float(scale))
        return prior

    def map(self, penalty: float) -> torch.Tensor:
        """The ridge map [P, W]. penalty: in units of `unit`, at least 0.001."""
        prior = self.prior()
        penalised = self.gram.clone()
        penalised.diagonal().add_(penalty * self.unit)
        return prior + torch.cholesky_solve(self.cross - self.gram @ prior, torch.linalg.cholesky(penalised))


def _errors(learning: _Relation, held_out: _Relation) -> list[float]:
    """Of each penalty the squared error, over the held-out rows, of the map learned on the others; from one
    eigendecomposition."""
    prior = learning.prior()
    values, axes = torch.linalg.eigh(learning.gram)
    right = axes.T @ (learning.cross - learning.gram @ prior)
    # With a map of prior + axes diag(s) right, the error is a quadratic function of s.
    of_prior = held_out.gram @ prior
    fixed = held_out.spread - 2 * (prior * held_out.cross).sum() + (prior * of_prior).sum()
    linear = (right * (axes.T @ (held_out.cross - of_prior))).sum(1)
    square = (axes.T @ held_out.gram @ axes) * (right @ right.T)
    errors = []
    for penalty in _PENALTIES:
        shrink = 1 / (values.clamp(min=0) + penalty * learning.unit)
        errors.append(max(0.0, float(fixed - 2 * shrink @ linear + shrink @ square @ shrink)))
    return errors
