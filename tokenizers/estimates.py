"""Shared by the measures: checks of their input, confidence intervals, and the summary of values over random codes."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from fuseid.core.errors import BadInput

# 95% of a normal distribution lie within this many standard deviations.
Z95 = 1.959963984540054
_RESAMPLES = 1000
# Largest number of resampling counts (resamples x items) in memory at a time.
_WEIGHTS = 1 << 18

Range = tuple[float | None, float | None, float | None]


def null_of(draws: Sequence[float]) -> Range:
    """(null, null_low, null_high) of a metric's values over random codes; all None if there are no draws."""
    if not len(draws):
        return None, None, None
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(np.mean(draws)), float(low), float(high)


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: np.ndarray | float) -> np.ndarray:
    """numerator / denominator; `empty` for 0 / 0, and 1 where only the denominator is 0."""
    over = np.divide(numerator, denominator, out=np.ones_like(numerator), where=denominator != 0)
    return np.where((denominator == 0) & (numerator == 0), empty, over)


def bootstrap(numerators_MN: np.ndarray, denominators_MN: np.ndarray, empty_M: np.ndarray, seed: int) -> np.ndarray:
    """Percentile intervals of M ratios of sums over N items, by resampling items (Efron 1979) -> float64 [M, 2].

    All ratios use the same resamples. NaN for a single item.
    """
    both = np.concatenate([numerators_MN, denominators_MN]).astype(np.float64)
    count, items = len(numerators_MN), both.shape[1]
    if items < 2:
        return np.full((count, 2), np.nan)
    generator = np.random.default_rng(seed)
    drawn = np.empty((_RESAMPLES, count))
    at_a_time = max(1, _WEIGHTS // items)
    for start in range(0, _RESAMPLES, at_a_time):
        draws = min(at_a_time, _RESAMPLES - start)
        rows = generator.integers(items, size=(draws, items)) + items * np.arange(draws)[:, None]
        sums = np.bincount(rows.ravel(), minlength=draws * items).reshape(draws, items) @ both.T
        drawn[start : start + draws] = ratio(sums[:, :count], sums[:, count:], empty_M)
    return np.quantile(drawn, (0.025, 0.975), axis=0).T


def around(value: float, error: float, least: float, most: float) -> tuple[float, float]:
    """The normal 95% interval of a value with standard error `error`, cut to least..most."""
    return max(least, value - Z95 * error), min(most, value + Z95 * error)


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Wilson's 95% interval (1927) of a share of `trials` trials, which need not be a whole number."""
    middle = (share + Z95**2 / 2 / trials) / (1 + Z95**2 / trials)
    half = Z95 / (1 + Z95**2 / trials) * sqrt(share * (1 - share) / trials + (Z95 / 2 / trials) ** 2)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def checked_codes(codes: Any, sizes: Any = None) -> np.ndarray:
    """Integers [N, L], not empty, within 0..K-1 of their level. Raises BadInput for others."""
    codes = np.asarray(codes)
    if codes.ndim != 2 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
        raise BadInput(f"codes must be whole numbers [N, L] and not empty, got {codes.dtype} {list(codes.shape)}")
    if int(codes.min()) < 0:
        raise BadInput(f"codes count from 0, got {int(codes.min())}; assign the items again")
    if sizes is not None:
        if len(sizes) != codes.shape[1]:
            raise BadInput(f"codes of {codes.shape[1]} levels and sizes of {len(sizes)} do not belong together")
        for level, (top, size) in enumerate(zip(codes.max(0), sizes, strict=True), 1):
            if top >= size:
                raise BadInput(
                    f"code {int(top)} of level {level} is beyond its {size} codes; give that tokenizer's sizes"
                )
    return codes


def checked_vectors(vectors: Any, rows: int, name: str = "vectors") -> np.ndarray:
    """Floats [rows, D], in their own precision. Raises BadInput for others; `finite` checks for NaN block by block."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or not vectors.size or not np.issubdtype(vectors.dtype, np.floating):
        raise BadInput(f"{name} must be floats [N, D] and not empty, got {vectors.dtype} {list(vectors.shape)}")
    if len(vectors) != rows:
        raise BadInput(f"{name} of {len(vectors)} items and codes of {rows} do not belong together")
    return vectors


def finite(block: np.ndarray, name: str = "vectors") -> np.ndarray:
    """A block as float32. Raises BadInput for NaN and infinite numbers."""
    block = np.ascontiguousarray(block, dtype=np.float32)
    if not np.isfinite(block).all():
        raise BadInput(f"{name} hold NaN or infinite numbers; remove those rows")
    return block
