"""Collision policies: what becomes of items that are quantized to the same codes; on arrays alone, without a store.

A bucket is one code tuple. All functions treat items in the order of their rows, which callers make that of content_id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fuseid.core.config import TokenizerConfig

# Vectors that finding candidates decodes at a time.
_BLOCK = 1 << 14


class Quantizer(Protocol):
    """The part of a tokenizer that finding other codes takes."""

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]: ...

    def decode(self, codes_NL: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Policy:
    """collisions: `suffix`, the first of a bucket keeps the bare ID and each later one gets the next digit (TIGER,
    Rajput et al. 2023, 3.1); `reassign`, a bucket takes `bucket_capacity` items and others the cheapest of
    `alternatives` codes that have room; `none`, a bucket is one ID. duplicates: whether items of equal content `share`
    one ID.
    """

    collisions: Literal["suffix", "reassign", "none"] = "suffix"
    bucket_capacity: int = 1
    alternatives: int = 32
    duplicates: Literal["separate", "share"] = "separate"

    @classmethod
    def of(cls, config: TokenizerConfig) -> Policy:
        return cls(config.collisions, config.bucket_capacity, config.alternatives, config.duplicates)

    def __str__(self) -> str:
        """All that has an effect: policies of equal texts give equal IDs."""
        searched = f" with bucket_capacity {self.bucket_capacity} and alternatives {self.alternatives}"
        return f"collisions {self.collisions}{searched * (self.collisions == 'reassign')}, duplicates {self.duplicates}"


def digits(buckets_N: np.ndarray, next_G: np.ndarray) -> np.ndarray:
    """int64 [N]: in each bucket the next digits from next_G [G] on; digit 0 is the bare ID."""
    order = np.argsort(buckets_N, kind="stable")
    counts = np.bincount(buckets_N, minlength=len(next_G))
    out = np.empty(len(buckets_N), np.int64)
    out[order] = np.arange(len(buckets_N)) - np.repeat(np.cumsum(counts) - counts, counts)
    return out + next_G[buckets_N]


def alternatives(
    quantizer: Quantizer, vectors_ND: np.ndarray, codes_NL: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """-> (codes int32 [N, C, L], cheapest first; extra errors float32 [N, C]: the squared error of each less that of
    codes_NL). C is `count` or as many as there are; codes_NL itself is among them as a rule."""
    found, extra = [], []
    step = max(1, _BLOCK // count)
    for start in range(0, len(vectors_ND), step):
        rows = slice(start, start + step)
        codes, errors = quantizer.candidates(vectors_ND[rows], count)
        found.append(codes)
        extra.append(errors - squared_errors(quantizer, vectors_ND[rows], codes_NL[rows])[:, None])
    return np.concatenate(found), np.concatenate(extra)


def squared_errors(quantizer: Quantizer, vectors_ND: np.ndarray, codes_NL: np.ndarray) -> np.ndarray:
    """float32 [N]: what the codes leave of each vector, squared."""
    return np.square(vectors_ND - quantizer.decode(codes_NL)).sum(1)


def placed(
    own_N: np.ndarray, options_NC: np.ndarray, next_G: np.ndarray, capacity: int
) -> tuple[np.ndarray, np.ndarray]:
    """One item after the other takes the first of its options with room, or else the next digit of its own bucket.

    own_N [N], options_NC [N, C]: numbers of buckets; next_G [G]: the next digit of each, before the first item.
    -> (int64 [N], the option taken or -1 where none had room; int64 [N], the digit).
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
