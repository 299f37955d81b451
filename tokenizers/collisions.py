"""Collision policies: which IDs items with equal codes get; functions of arrays, without a store.

A bucket is one tuple of codes. All functions process items in the order of their rows; callers sort them by content_id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fuseid.core.config import TokenizerConfig

# Candidate vectors that are decoded at a time.
_BLOCK = 1 << 14


class Quantizer(Protocol):
    """The methods of a tokenizer that are needed to find other codes."""

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]: ...

    def decode(self, codes_NL: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Policy:
    """collisions: `suffix`, the first item of a bucket gets the bare ID and each later one the next digit (TIGER,
    Rajput et al. 2023, 3.1); `reassign`, a bucket holds `bucket_capacity` items and further items get the cheapest of
    `alternatives` codes with room; `none`, all items of a bucket share one ID. duplicates: whether items of equal
    content `share` one ID.
    """

    collisions: Literal["suffix", "reassign", "none"] = "suffix"
    bucket_capacity: int = 1
    alternatives: int = 32
    duplicates: Literal["separate", "share"] = "separate"

    @classmethod
    def of(cls, config: TokenizerConfig) -> Policy:
        return cls(config.collisions, config.bucket_capacity, config.alternatives, config.duplicates)

    def __str__(self) -> str:
        """Every setting that has an effect: policies with equal texts give equal IDs."""
        searched = f" with bucket_capacity {self.bucket_capacity} and alternatives {self.alternatives}"
        return f"collisions {self.collisions}{searched * (self.collisions == 'reassign')}, duplicates {self.duplicates}"


def digits(buckets_N: np.ndarray, next_G: np.ndarray) -> np.ndarray:
    """int64 [N]: consecutive digits within each bucket, starting at next_G [G]; digit 0 is the bare ID."""
    order = np.argsort(buckets_N, kind="stable")
    counts = np.bincount(buckets_N, minlength=len(next_G))
    out = np.empty(len(buckets_N), np.int64)
    out[order] = np.arange(len(buckets_N)) - np.repeat(np.cumsum(counts) - counts, counts)
    return out + next_G[buckets_N]


def alternatives(
    quantizer: Quantizer, vectors_ND: np.ndarray, codes_NL: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """-> (codes int32 [N, C, L], smallest error first; extra errors float32 [N, C]: the squared error of each minus
    that of codes_NL). C is `count` or as many as there are; usually codes_NL itself is among them."""
    found, extra = [], []
    step = max(1, _BLOCK // count)
    for start in range(0, len(vectors_ND), step):
        rows = slice(start, start + step)
        codes, errors = quantizer.candidates(vectors_ND[rows], count)
        found.append(codes)
        extra.append(errors - squared_errors(quantizer, vectors_ND[rows], codes_NL[rows])[:, None])
    return np.concatenate(found), np.concatenate(extra)


def squared_errors(quantizer: Quantizer, vectors_ND: np.ndarray, codes_NL: np.ndarray) -> np.ndarray:
    """float32 [N]: the squared quantization error of each vector."""
    return np.square(vectors_ND - quantizer.decode(codes_NL)).sum(1)


def placed(
    own_N: np.ndarray, options_NC: np.ndarray, next_G: np.ndarray, capacity: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each item in turn gets the first of its options with room, or else the next digit of its own bucket.

    own_N [N], options_NC [N, C]: bucket numbers; next_G [G]: the next digit of each bucket before the first item.
    -> (int64 [N], the option taken, or -1 if none had room; int64 [N], the digit).
    """
    following = next_G.tolist()
    chosen, given = np.full(len(own_N), -1, np.int64), np.empty(len(own_N), np.int64)
    for item, (own, options) in enumerate(zip(own_N.tolist(), options_NC.tolist(), strict=True)):
        bucket = own
        for option, other in enumerate(options):
            if following[other] < capacity:
                chosen[item], bucket = option, other
                break
        given[item] = following[bucket]
        following[bucket] += 1
    return chosen, given
