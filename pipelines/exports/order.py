"""The order of texts by their bytes: eight bytes at once, behind what all begin with, and whole texts only in ties.

`pyarrow.compute.sort_indices` gives the same order; with it a whole export of a million items takes up to 1.5 times as
long (docs/exports.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORD = 8
# What is left of a word when a text ends within it, by the bytes that it still has.
_MASKS = np.array([(1 << 64) - (1 << (64 - 8 * left)) for left in range(_WORD + 1)], np.uint64)


def order_of(texts: pa.StringArray) -> np.ndarray:
    """int64 [N]: the rows in ascending order of their UTF-8, those of equal texts in any. texts: without nulls."""
    if len(texts) < 2:
        return np.arange(len(texts))
    first, last = (text.encode() for text in pc.min_max(texts).as_py().values())
    common = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    words = _words(texts, common)
    order = np.argsort(words)
    same = np.diff(words[order]) == 0
    settle_ties(order, same, lambda rows: pc.sort_indices(texts.take(pa.array(rows))).to_numpy())
    return order


def settle_ties(order: np.ndarray, same: np.ndarray, order_of_rows: Callable[[np.ndarray], np.ndarray]) -> None:
    """Puts rows of equal keys into the order that they have by another key; `order` is changed.

    order: int64 [N], rows by the first key. same: bool [N - 1], whether a row and the one behind it are equal in it.
    order_of_rows: of T rows that are equal to others, int64 [T], the order by the other key, int64 [T].
    """
    tied = np.append(same, False) | np.append(False, same)
    rows, groups = order[tied], np.append(0, np.cumsum(~same))[tied]
    by_other = order_of_rows(rows)
    order[tied] = rows[by_other][np.argsort(groups[by_other], kind="stable")]


def _words(texts: pa.StringArray, start: int) -> np.ndarray:
    """uint64 [N]: of each text the bytes from `start` on as one number, zero where there are none."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    text = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data is not None else np.empty(0, np.uint8)
    padded = np.concatenate([text, np.zeros(_WORD, np.uint8)])
    # A word begins at every byte.
    words = np.ndarray(len(text) + 1, ">u8", padded, strides=(1,))
    starts = ends[:-1] - ends[0] + start
    left = np.minimum(ends[1:] - ends[0] - starts, _WORD)
    return words[starts].astype(np.uint64) & _MASKS[left]
