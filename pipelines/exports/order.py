"""Sorts texts by their bytes: by eight bytes after the common prefix of all, and by whole texts only in ties.

`pyarrow.compute.sort_indices` gives the same order; with it a whole export of a million items takes up to 1.5 times as
long (docs/exports.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORD = 8
# Masks for a word in which a text ends, by the number of bytes that are left of the text.
_MASKS = np.array([(1 << 64) - (1 << (64 - 8 * left)) for left in range(_WORD + 1)], np.uint64)


def order_of(texts: pa.StringArray) -> np.ndarray:
    """int64 [N]: the rows in ascending order of their UTF-8, rows of equal texts in any order. texts: without nulls."""
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
    """Sorts rows of equal keys by a second key; changes `order`.

    order: int64 [N], rows by the first key. same: bool [N - 1], whether a row and the next one are equal in it.
    order_of_rows: T rows that are equal to others, int64 [T] -> their order by the second key, int64 [T].
    """
    tied = np.append(same, False) | np.append(False, same)
    rows, groups = order[tied], np.append(0, np.cumsum(~same))[tied]
    by_other = order_of_rows(rows)
    order[tied] = rows[by_other][np.argsort(groups[by_other], kind="stable")]


def _words(texts: pa.StringArray, start: int) -> np.ndarray:
    """uint64 [N]: the bytes of each text from `start` on as one number, zeros for missing bytes."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    text = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data is not None else np.empty(0, np.uint8)
    padded = np.concatenate([text, np.zeros(_WORD, np.uint8)])
    # One word begins at each byte.
    words = np.ndarray(len(text) + 1, ">u8", padded, strides=(1,))
    starts = ends[:-1] - ends[0] + start
    left = np.minimum(ends[1:] - ends[0] - starts, _WORD)
    return words[starts].astype(np.uint64) & _MASKS[left]
