"""Controls: IDs for the same items that do not depend on their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.collisions import digits

RANDOM, HASHED = "random", "hashed"


@dataclass(frozen=True)
class Ids:
    """The IDs of a catalogue's items: codes_NM int32 [N, L + 1], whose last column is the collision digit (0 for an ID
    without one); codebook_sizes: L numbers. Rows are in the order of content_id."""

    name: str
    codes_NM: np.ndarray
    codebook_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.codes_NM.ndim != 2 or self.codes_NM.shape[1] != len(self.codebook_sizes) + 1:
            raise ValueError(f"{self.name}: {self.codes_NM.shape} codes for {len(self.codebook_sizes)} levels")

    @property
    def largest_suffix(self) -> int:
        return int(self.codes_NM[:, -1].max(initial=0))


def random_ids(ids: Ids, seed: int) -> Ids:
    """The same IDs, permuted among the items: they keep only how many IDs share each prefix."""
    order = np.random.default_rng([seed, 1]).permutation(len(ids.codes_NM))
    return Ids(RANDOM, ids.codes_NM[order], ids.codebook_sizes)


def hashed_ids(content_ids: Sequence[str], codebook_sizes: Sequence[int], seed: int) -> Ids:
    """The code of each level is a hash of the content_id and the seed; items of equal codes get digits in the order
    given."""
    levels = len(codebook_sizes)
    hashes = b"".join(hashlib.shake_128(f"{seed} {one}".encode()).digest(8 * levels) for one in content_ids)
    codes_NL = np.frombuffer(hashes, "<u8").reshape(-1, levels) % np.asarray(codebook_sizes, np.uint64)
    buckets, first = bucket_ids(codes_NL.astype(np.int64))
    suffix_N = digits(buckets, np.zeros(len(first), np.int64))
    return Ids(HASHED, np.column_stack([codes_NL, suffix_N]).astype(np.int32), tuple(codebook_sizes))
