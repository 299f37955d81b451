"""Vector columns between Arrow and numpy; an absent vector is a row of NaN in numpy and a null in Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import pyarrow as pa


def nan_rows(column: pa.Array | pa.ChunkedArray, dim: int) -> np.ndarray:
    """list<float32> or fixed_size_list<float32, dim>, nullable -> float32 [N, dim]."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    out = np.full((len(column), dim), np.nan, dtype=np.float32)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    # flatten() skips the values under a null.
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    out[there] = flat.reshape(-1, dim)
    return out


def to_fixed(vectors_ND: np.ndarray) -> pa.FixedSizeListArray:
    """float32 [N, D] with NaN rows for absent vectors -> fixed_size_list<float32, D>."""
    absent = np.isnan(vectors_ND[:, 0])
    values = pa.array(np.ascontiguousarray(vectors_ND, dtype=np.float32).reshape(-1))
    mask = pa.array(absent) if absent.any() else None
    return pa.FixedSizeListArray.from_arrays(values, vectors_ND.shape[1], mask=mask)


def vector_fingerprints(vectors_ND: np.ndarray) -> pa.Array:
    """For each row the hex of BLAKE2b-64 over the bytes of its numbers, float32 [N, D]."""
    return pa.array([blake2b(row, digest_size=8).hexdigest() for row in _bytes(vectors_ND)], pa.string())


def fused_fingerprints(fusion_id: str, fused_ND: np.ndarray) -> pa.Array:
    """For each row the hash of the fused vector and its fusion; null if there is no vector."""
    seed = fusion_id.encode()[:64]
    hashes = [blake2b(row, digest_size=8, key=seed).hexdigest() for row in _bytes(fused_ND)]
    return pa.array(hashes, pa.string(), mask=np.isnan(fused_ND[:, 0]))


def _bytes(rows_ND: np.ndarray) -> Iterator[memoryview]:
    """The bytes of each row as float32, without a copy."""
    data = np.ascontiguousarray(rows_ND, dtype=np.float32).reshape(-1).data.cast("B")
    size = 4 * rows_ND.shape[1]
    return (data[at : at + size] for at in range(0, len(data), size))
