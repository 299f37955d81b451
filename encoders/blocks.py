"""Forward passes in padded blocks of one size, so that a row's bits never depend on who else is in its batch.

Measured: a matrix product over a tail of another size takes another kernel and changes the last bits of every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive runs of at most `size` items, drawn as they are asked for."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def filled(items: Sequence[T], size: int) -> list[T]:
    """`items` and its last one over again, `size` in all."""
    return [*items, *[items[-1]] * (size - len(items))]


def in_blocks(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, size: int) -> np.ndarray:
    """Applies `function` [size, ...] -> [size, ...] to rows [N, ...], the tail padded by repeating its last row."""
    if len(rows) == 0:
        raise ValueError("in_blocks needs at least one row")
    parts = []
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        missing = size - len(block)
        padded = np.concatenate([block, np.repeat(block[-1:], missing, axis=0)]) if missing else block
        parts.append(function(padded)[: len(block)])
    return np.concatenate(parts)


def unit_rows(vectors_ND: np.ndarray) -> np.ndarray:
    """Each row divided by its L2 norm, float32; a zero row stays zero."""
    vectors_ND = np.asarray(vectors_ND, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64))
    norms[norms == 0] = 1.0
    return (vectors_ND / norms[:, None]).astype(np.float32)
