"""Means over examples with 95% intervals over users, for one kind of IDs and for the difference of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fuseid.tokenizers.estimates import bootstrap


@dataclass(frozen=True)
class Estimate:
    """value: the mean over examples and seeds. low, high: 95%, by resampling users; None for a single user. seeds: the
    standard deviation of the means of the single seeds; None for a single seed."""

    value: float
    low: float | None
    high: float | None
    seeds: float | None


def estimates(values_VSE: np.ndarray, user_E: np.ndarray) -> list[Estimate]:
    """float [V, S, E]: V measures of E examples under S seeds -> V estimates, whose intervals share the resamples.

    Percentile bootstrap over users, each with all of the user's examples, whose values are averaged over seeds (Efron
    1979). For a paired comparison the values are differences: same user, same example, same seed. user_E: int, any
    numbers.
    """
    measures, seeds, _ = values_VSE.shape
    _, users = np.unique(user_E, return_inverse=True)
    counts_U = np.bincount(users)
    sums_VU = np.stack([np.bincount(users, weights=row) for row in values_VSE.mean(1)])
    ranges_V2 = bootstrap(sums_VU, np.broadcast_to(counts_U, sums_VU.shape), np.zeros(measures), seed=0)
    spread_V = values_VSE.mean(2).std(1, ddof=1) if seeds > 1 else np.full(measures, np.nan)
    columns = (values_VSE.mean((1, 2)), ranges_V2[:, 0], ranges_V2[:, 1], spread_V)
    return [Estimate(float(value), *map(_known, rest)) for value, *rest in zip(*columns, strict=True)]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
