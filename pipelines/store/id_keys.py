"""IDs as keys whose bytes are in the order of the numbers: 2-10 comes after 2-9, and 2-9.1 after 2-9."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WORD = 4
# Codes plus one have to fit into a word.
_LARGEST = 2**32 - 2


def id_keys(sids: pa.Array | pa.ChunkedArray, depth: int | None = None) -> np.ndarray:
    """IDs [N], none null -> bytes [N]: each code plus one, 0, and the suffix, 0 for none, as big-endian words. NumPy
    compares such texts without the zeros at their end, so keys for another depth are equal.

    depth: the most codes, by default those of the longest of these IDs. Raises ValueError for what is no ID, and a
    number beyond 32 bits."""
    if isinstance(sids, pa.ChunkedArray):
        sids = sids.combine_chunks()
    halves = pc.split_pattern(sids, ".", max_splits=1)
    counts = pc.list_value_length(halves).to_numpy()
    starts, texts = np.cumsum(counts) - counts, halves.flatten()
    codes = pc.split_pattern(texts.take(pa.array(starts)), "-")
    lengths = pc.list_value_length(codes).to_numpy().astype(np.int64)
    columns = int(lengths.max(initial=1)) if depth is None else depth
    if lengths.max(initial=0) > columns:
        raise ValueError(f"an ID has more than {columns} codes")
    numbers_NL = np.zeros((len(sids), columns + 2), ">u4")
    flat = codes.flatten().cast(pa.uint32()).to_numpy()
    if flat.max(initial=0) > _LARGEST:
        raise ValueError(f"an ID has the code {flat.max()}")
    rows = np.repeat(np.arange(len(sids)), lengths)
    numbers_NL[rows, np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)] = flat + 1
    suffixed = np.flatnonzero(counts == 2)
    suffixes = texts.take(pa.array(starts[suffixed] + 1)).cast(pa.uint32()).to_numpy()
    numbers_NL[suffixed, lengths[suffixed] + 1] = suffixes
    return numbers_NL.view(f"S{_WORD * (columns + 2)}").reshape(-1)


def depth_of(keys_N: np.ndarray) -> int:
    """The number of codes for which keys have room."""
    return keys_N.dtype.itemsize // _WORD - 2


def codes_of(keys_N: np.ndarray) -> np.ndarray:
    """Keys [N] -> uint32 [N, depth]: the codes plus one, 0 where an ID has fewer."""
    depth = depth_of(keys_N)
    words = np.frombuffer(np.ascontiguousarray(keys_N).tobytes(), ">u4").astype(np.uint32)
    codes = words.reshape(len(keys_N), depth + 2)[:, :depth]
    return codes * np.logical_and.accumulate(codes != 0, axis=1)


def key_of(codes: Sequence[int]) -> bytes:
    """The least key that begins with these codes."""
    return (np.array([*codes], np.int64) + 1).astype(">u4").tobytes()


def key_after(codes: Sequence[int]) -> bytes:
    """The least key after all that begin with these codes, of which there is at least one."""
    return key_of([*codes[:-1], codes[-1] + 1])


def fixed(keys_N: np.ndarray) -> pa.FixedSizeBinaryArray:
    """Keys as an Arrow column."""
    width = keys_N.dtype.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(keys_N), [None, pa.py_buffer(keys_N.tobytes())])


def from_fixed(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The inverse of `fixed`."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    width = column.type.byte_width
    return np.frombuffer(column.buffers()[1], f"S{width}")[column.offset : column.offset + len(column)]
