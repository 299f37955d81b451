"""Vectors to fit on, in fixed blocks of rows. The blocks depend on the rows alone, never on who processes them, so what
is computed block by block and reduced in block order has the same bits for any number of threads, processes or
machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from fuseid.core.errors import BadInput
from fuseid.core.parallel_blocks import on_all_cores

T = TypeVar("T")

# Rows per chunk: what a block's work has in memory at a time.
CHUNK = 4096
_LEAST_ROWS, _MOST_ROWS, _BLOCKS = 4096, 1 << 18, 128


def rows_per_block(rows: int) -> int:
    """A power of two between 4,096 and 262,144: about 128 blocks if these limits allow it."""
    size = _LEAST_ROWS
    while size < _MOST_ROWS and size * _BLOCKS < rows:
        size *= 2
    return size


class Block(Protocol):
    """A block in the process that works on it. memo: results that later work on this block may use again; it is empty
    after its process was replaced, so work must be able to compute them again."""

    number: int
    memo: dict[str, Any]

    @property
    def rows(self) -> int: ...

    def chunks(self) -> Iterator[torch.Tensor]:
        """float32 [n, D] on the CPU, `CHUNK` rows each but the last, in order; not to be changed."""


BlockWork = Callable[[Block], T]
"""Computes one result of one block; it can be pickled and runs on one thread."""


class Blocks(Protocol):
    """rows: N of all blocks. dim: D. count: the number of blocks."""

    rows: int
    dim: int
    count: int

    def map(self, work: BlockWork[T]) -> Iterator[T]:
        """The result of each block, in block order; blocks are worked on in parallel."""

    def read(self, number: int) -> np.ndarray:
        """float32 [n, D]: the rows of one block."""

    def sample(self, rows: int) -> np.ndarray:
        """float32 [min(rows, N), D]: random rows, always the same; a smaller sample is the start of a larger."""


@dataclass
class ArrayBlock:
    number: int
    vectors: torch.Tensor
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.vectors)

    def chunks(self) -> Iterator[torch.Tensor]:
        return iter(self.vectors.split(CHUNK))


class ArrayBlocks:
    """Blocks of consecutive rows of an array in memory."""

    def __init__(self, vectors_ND: np.ndarray, seed: int = 0) -> None:
        """vectors_ND: float32 [N, D]. seed: of `sample`."""
        self.rows, self.dim = vectors_ND.shape
        self._vectors_ND = vectors_ND
        self._order = np.random.default_rng(seed).permutation(self.rows)
        parts = torch.from_numpy(vectors_ND).split(rows_per_block(self.rows))
        self._blocks = [ArrayBlock(number, part) for number, part in enumerate(parts)]
        self.count = len(self._blocks)

    def map(self, work: BlockWork[T]) -> Iterator[T]:
        return on_all_cores(work, self._blocks)

    def read(self, number: int) -> np.ndarray:
        return self._blocks[number].vectors.numpy()

    def sample(self, rows: int) -> np.ndarray:
        return self._vectors_ND[self._order[:rows]]


def as_blocks(vectors: np.ndarray | Blocks) -> Blocks:
    """float32 [N, D], or blocks -> blocks. Raises BadInput for another shape, and without rows."""
    if not isinstance(vectors, np.ndarray):
        return vectors
    vectors_ND = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors_ND.ndim != 2 or not vectors_ND.size:
        raise BadInput(f"vectors must be [N, D] and not empty, got {list(vectors_ND.shape)}")
    return ArrayBlocks(vectors_ND)


def for_fit(kind: Any, blocks: Blocks) -> np.ndarray | Blocks:
    """What the `fit` of a kind of tokenizer takes: blocks if it has FITS_BLOCKS, see `core.protocols.FittedTokenizer`,
    otherwise their rows as one array."""
    if getattr(kind, "FITS_BLOCKS", False):
        return blocks
    return np.concatenate([blocks.read(number) for number in range(blocks.count)])


def summed(results: Iterable[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The sum of what each block gave, part by part, added in block order."""
    total: list[np.ndarray] = []
    for parts in results:
        if not total:
            total = [np.array(part) for part in parts]
        else:
            for sum_, part in zip(total, parts, strict=True):
                sum_ += part
    return total
