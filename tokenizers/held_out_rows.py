"""Rows that a fit judges itself by, and does not learn from: chosen by a hash of the vector, so that they are the same
in any blocks, and equal vectors are on one side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fuseid.core.row_blocks import Block, Blocks, BlockWork, T

_SHARE, _MOST, _LEAST = 0.05, 20_000, 100


def held_out_share(rows: int) -> float:
    """One in twenty, 20,000 at most; none if that is fewer than 100."""
    share = min(_SHARE, _MOST / rows)
    return share if rows * share >= _LEAST else 0.0


def held_out(vectors_ND: np.ndarray, share: float, seed: int) -> np.ndarray:
    """float32 [N, D] -> bool [N]"""
    factors_D = np.random.default_rng([seed, 0x4E1D]).integers(1 << 63, size=vectors_ND.shape[1], dtype=np.uint64)
    words_ND = np.ascontiguousarray(vectors_ND).view(np.uint32).astype(np.uint64) + np.uint64(1)
    hash_N = words_ND @ (2 * factors_D + np.uint64(1))
    hash_N ^= hash_N >> np.uint64(32)
    hash_N *= np.uint64(0x9E3779B97F4A7C15)
    return (hash_N >> np.uint64(40)) < np.uint64(share * (1 << 24))


class _FittedBlock:
    """The rows of a block that are not held out."""

    def __init__(self, whole: Block, share: float, seed: int) -> None:
        self.number = whole.number
        # Of its own: equal codebooks have other codes here than in the whole block.
        self.memo: dict[str, Any] = whole.memo.setdefault(f"fitted rows, {share}, {seed}", {})
        self._whole, self._share, self._seed = whole, share, seed
        if "rows" not in self.memo:
            self.memo["rows"] = sum(map(len, self.chunks()))
        self.rows = int(self.memo["rows"])

    def chunks(self) -> Iterator[torch.Tensor]:
        for chunk in self._whole.chunks():
            yield chunk[torch.from_numpy(~held_out(chunk.numpy(), self._share, self._seed))]


@dataclass(frozen=True)
class _OnFitted:
    work: BlockWork[Any]
    share: float
    seed: int

    def __call__(self, block: Block) -> Any:
        return self.work(_FittedBlock(block, self.share, self.seed))


@dataclass(frozen=True)
class _HeldOut:
    share: float
    seed: int

    def __call__(self, block: Block) -> np.ndarray:
        rows = [chunk.numpy() for chunk in block.chunks()]
        return np.concatenate([each[held_out(each, self.share, self.seed)] for each in rows])


class FittedBlocks:
    """The rows of blocks that are not held out, as blocks. rows: of all blocks, held out or not."""

    def __init__(self, blocks: Blocks, seed: int) -> None:
        self.rows, self.dim, self.count = blocks.rows, blocks.dim, blocks.count
        self._blocks, self._seed = blocks, seed
        self._share = held_out_share(blocks.rows)

    def map(self, work: BlockWork[T]) -> Iterator[T]:
        return self._blocks.map(_OnFitted(work, self._share, self._seed)) if self._share else self._blocks.map(work)

    def read(self, number: int) -> np.ndarray:
        return self._fitted(self._blocks.read(number))

    def sample(self, rows: int) -> np.ndarray:
        return self._fitted(self._blocks.sample(rows))

    def held_out(self) -> np.ndarray:
        """float32 [M, D], 20,000 or a few more at most; a sample of the fitted rows if none are held out."""
        if not self._share:
            return self._blocks.sample(_MOST)
        return np.concatenate(list(self._blocks.map(_HeldOut(self._share, self._seed))))

    def _fitted(self, vectors_ND: np.ndarray) -> np.ndarray:
        return vectors_ND[~held_out(vectors_ND, self._share, self._seed)] if self._share else vectors_ND
