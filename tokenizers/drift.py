"""Drift: whether new items still fit the codebooks, which were learned on earlier items.

Two things are compared between new vectors and vectors held out from the fit: the quantization error, and the
distribution of codes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuseid.core.protocols import Tokenizer
from fuseid.tokenizers.estimates import Z95
from fuseid.tokenizers.measures import Measure

# The fewest new items that are compared; with fewer, the comparison waits for more.
ENOUGH_ITEMS, ENOUGH_PER_CODE = 1000, 4
_DRAWS = 200


class CodeUse:
    """Running totals over quantized vectors: squared errors, and how often each code of each level was used."""

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        self.items = 0
        self.error_sum = self.error_square_sum = 0.0
        self.histogram = [np.zeros(size, dtype=np.int64) for size in codebook_sizes]

    @classmethod
    def under(cls, tokenizer: Tokenizer, vectors_ND: np.ndarray) -> CodeUse:
        """The totals of a tokenizer over these vectors."""
        use, codes = cls(tokenizer.codebook_sizes), tokenizer.encode(vectors_ND)
        use.add(vectors_ND, tokenizer.decode(codes), codes)
        return use

    def add(self, vectors_ND: np.ndarray, decoded_ND: np.ndarray, codes_NL: np.ndarray) -> None:
        errors = np.square(vectors_ND - decoded_ND, dtype=np.float64).sum(1)
        self.items += len(errors)
        self.error_sum += float(errors.sum())
        self.error_square_sum += float(np.square(errors).sum())
        for level, counts in enumerate(self.histogram):
            counts += np.bincount(codes_NL[:, level], minlength=len(counts))

    def merge(self, other: CodeUse) -> None:
        self.items += other.items
        self.error_sum += other.error_sum
        self.error_square_sum += other.error_square_sum
        for mine, theirs in zip(self.histogram, other.histogram, strict=True):
            mine += theirs

    @property
    def error(self) -> float:
        """Mean squared error of an item."""
        return self.error_sum / self.items

    @property
    def relative_variance(self) -> float:
        """Variance of the mean error, divided by its square."""
        spread = max(self.error_square_sum / self.items - self.error**2, 0.0)
        return spread / max(self.error, 1e-30) ** 2 / self.items

    def document(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "items": self.items,
            "error_sum": self.error_sum,
            "error_square_sum": self.error_square_sum,
            "histogram": [counts.tolist() for counts in self.histogram],
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> CodeUse:
        use = cls([len(counts) for counts in document["histogram"]])
        use.items, use.error_sum = document["items"], document["error_sum"]
        use.error_square_sum = document["error_square_sum"]
        use.histogram = [np.array(counts, dtype=np.int64) for counts in document["histogram"]]
        return use


def held_out_r2(metrics: Mapping[str, Any]) -> Measure | None:
    """`held_out_r2` of a tokenizer's metrics, see DEFINITIONS; None if its fit held nothing out."""
    value, held_out = metrics.get("held_out_r2"), metrics.get("held_out")
    if value is None or held_out is None:
        return None
    error = Z95 * (1 - value) * float(np.sqrt(CodeUse.of(held_out).relative_variance))
    return Measure("held_out_r2", value, None, value - error, value + error)


@dataclass(frozen=True)
class Drift:
    """items: number of new items. error_ratio: their mean squared error divided by that of the held-out items, with its
    95% interval. divergence: per level, Jensen-Shannon, in bits (0 equal, 1 nothing in common). expected, chance: mean
    of the divergence, and the value that one draw in 200 exceeds, if both are drawn from one distribution."""

    items: int
    error_ratio: float
    error_low: float
    error_high: float
    divergence: tuple[float, ...]
    expected: tuple[float, ...]
    chance: tuple[float, ...]

    def reasons(self, most_error: float, most_divergence: float) -> list[str]:
        """Describes each figure that exceeds its limit by more than chance explains; empty if none does.

        Of the codes only the first level counts: it holds the themes, and all lower levels depend on it.
        """
        found = []
        if self.error_low > most_error:
            found.append(
                f"new items are quantized {self.error_ratio:.2f} times as badly as those held out from the fit "
                f"(95%: {self.error_low:.2f} to {self.error_high:.2f}, limit {most_error:g})"
            )
        beyond = self.divergence[0] - self.expected[0]
        if self.divergence[0] > self.chance[0] and beyond > most_divergence:
            found.append(
                f"their first codes differ from the fit's by {self.divergence[0]:.2f} bits "
                f"({self.expected[0]:.2f} expected by chance, limit {most_divergence:g} more)"
            )
        return found


def enough(use: CodeUse) -> bool:
    return use.items >= max(ENOUGH_ITEMS, ENOUGH_PER_CODE * len(use.histogram[0]))


def drift(reference: CodeUse, new: CodeUse, seed: int = 0) -> Drift:
    """Compares two non-empty sets of items of one tokenizer. The ratio's interval uses the delta method; chance comes
    from drawing both histograms from their sum; the divergence is Lin's (1991, sec. IV), finite also for empty
    codes."""
    ratio = new.error / max(reference.error, 1e-30)
    half = 1.96 * ratio * float(np.sqrt(new.relative_variance + reference.relative_variance))
    generator = np.random.default_rng(seed)
    observed, expected, chance = [], [], []
    for before, now in zip(reference.histogram, new.histogram, strict=True):
        together = (before + now) / (reference.items + new.items)
        drawn = divergence(
            generator.multinomial(reference.items, together, _DRAWS), generator.multinomial(new.items, together, _DRAWS)
        )
        observed.append(float(divergence(before, now)))
        expected.append(float(drawn.mean()))
        chance.append(float(np.quantile(drawn, 1 - 1 / _DRAWS)))
    return Drift(
        new.items, ratio, max(ratio - half, 0.0), ratio + half, tuple(observed), tuple(expected), tuple(chance)
    )


def divergence(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits between counts [..., K]: H((p + q) / 2) - (H(p) + H(q)) / 2."""
    p = first / first.sum(-1, keepdims=True)
    q = second / second.sum(-1, keepdims=True)
    return np.maximum(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2, 0.0)


def _entropy(shares: np.ndarray) -> np.ndarray:
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(-1)
