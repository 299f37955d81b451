"""Predicts an item's absent modalities from its present ones: linear maps, learned on items that have both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

# With fewer items than this that have both sides, nothing is learned: the absent side is set to its mean.
MIN_ROWS = 16
# More would not change a linear map by much.
MAX_ROWS = 50_000
# Ridge penalties to try, in units of the mean variance of the predictors; the largest almost predicts the mean.
_PENALTIES = tuple(10.0**power for power in np.arange(-3.0, 4.5, 0.5))
_VALIDATION = 4  # every fourth row is held out to choose the penalty

# Of so many modalities every pattern is learned, also one that does not occur yet.
_FEW = 4

Pattern = tuple[str, ...]
"""The modalities that an item has, in the order of fusion."""


def patterns(modalities: Sequence[str]) -> list[Pattern]:
    """Every non-empty subset of `modalities`, the complete one last."""
    return [p for size in range(1, len(modalities) + 1) for p in combinations(modalities, size)]


def learned_patterns(has: Mapping[str, np.ndarray]) -> list[Pattern]:
    """The patterns to learn maps for: all of a few modalities; of more, those that occur and those of one modality.

    has: per modality bool [N], whether an item of the sample has it.
    """
    every = patterns(tuple(has))
    if len(has) <= _FEW:
        return every
    return [p for p in every if len(p) == 1 or np.all([has[m] == (m in p) for m in has], axis=0).any()]


def learn_fill(
    centred: Mapping[str, np.ndarray], has: Mapping[str, np.ndarray], pattern: Pattern
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Ridge regression (Hoerl and Kennard 1970) of each absent modality on the present ones.

    If a present modality has as many dimensions as the absent one, the penalty shrinks the map towards a multiple of
    the identity, not towards zero: CLIP's images and texts share a space, which a small sample could not teach.

    centred: per modality [N, D_m] of mean zero; has: bool [N]. -> (per absent modality a map float64
    [sum of present D, D_m], and the share of its variance that the map explains on held-out rows). An absent modality
    that cannot be predicted better than by its mean has a map of zeros and a share of 0.
    """
    maps, explained = {}, {}
    size = sum(centred[m].shape[1] for m in pattern)
    for absent in (m for m in centred if m not in pattern):
        rows = np.flatnonzero(np.all([has[m] for m in (*pattern, absent)], axis=0))
        rows = rows[:: max(1, len(rows) // MAX_ROWS)]
        maps[absent], explained[absent] = np.zeros((size, centred[absent].shape[1])), 0.0
        if len(rows) < MIN_ROWS:
            continue
        known = [centred[m][rows].astype(np.float64) for m in pattern]
        wanted = centred[absent][rows].astype(np.float64)
        held_out = np.arange(len(rows)) % _VALIDATION == _VALIDATION - 1
        trial = _Ridge([part[~held_out] for part in known], wanted[~held_out])
        held_out_known = np.concatenate([part[held_out] for part in known], axis=1)
        total = float(np.square(wanted[held_out]).sum())
        left = [
            float(np.square(wanted[held_out] - held_out_known @ trial.map(penalty)).sum()) for penalty in _PENALTIES
        ]
        best = int(np.argmin(left))
        if left[best] < total:
            maps[absent], explained[absent] = _Ridge(known, wanted).map(_PENALTIES[best]), 1.0 - left[best] / total
    return maps, explained


class _Ridge:
    """Ridge regression for any penalty from one eigendecomposition."""

    def __init__(self, parts: Sequence[np.ndarray], wanted: np.ndarray) -> None:
        known = np.concatenate(parts, axis=1)
        self._prior = _multiples_of_identity(parts, wanted)
        self._values, self._axes = np.linalg.eigh(known.T @ known)
        self._right = self._axes.T @ (known.T @ (wanted - known @ self._prior))
        self._unit = max(float(self._values.mean()), np.finfo(float).tiny)

    def map(self, penalty: float) -> np.ndarray:
        shrunk = self._right / (self._values.clip(min=0) + penalty * self._unit)[:, None]
        return self._prior + self._axes @ shrunk


def _multiples_of_identity(parts: Sequence[np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """The least-squares map that scales each part with as many columns as `wanted` and ignores the others."""
    size = wanted.shape[1]
    same = [part for part in parts if part.shape[1] == size]
    gram = np.array([[np.vdot(one, other) for other in same] for one in same]).reshape(len(same), len(same))
    scales = iter(np.linalg.lstsq(gram, np.array([np.vdot(part, wanted) for part in same]))[0] if same else ())
    blocks = [
        next(scales) * np.eye(size) if part.shape[1] == size else np.zeros((part.shape[1], size)) for part in parts
    ]
    return np.concatenate(blocks)
