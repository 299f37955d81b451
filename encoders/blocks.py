"""Forward passes in padded blocks of one size, so that a row's result never depends on the other rows of its batch.

Measured: a matrix product over a last block of another size uses another kernel and changes the last bits of every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items; reads `items` lazily."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def filled(items: Sequence[T], size: int) -> list[T]:
    """`items`, padded to `size` by repeating the last one."""
    return [*items, *[items[-1]] * (size - len(items))]


def unit_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Each row divided by its L2 norm, float32; a zero row stays zero."""
    vectors_ND = np.asarray(vectors_ND, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64))
    norms[norms == 0] = 1.0
    return (vectors_ND / norms[:, None]).astype(np.float32)
