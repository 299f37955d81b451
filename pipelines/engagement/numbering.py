"""Numbers of content_ids in the order in which they are first seen, and their order by bytes once all are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Numbering:
    """Memory: each distinct id once, and while a piece is numbered a hash table of all."""

    def __init__(self, known: pa.Array | None = None) -> None:
        """known: string, distinct; then no other id gets a number."""
        self._is_closed = known is not None
        self._ids = pa.array([], pa.string()) if known is None else known

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, content_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """string [N] without nulls -> int32 [N]; -1 for an id that is not among the known ones."""
        found = pc.index_in(content_ids, value_set=self._ids)
        if found.null_count and not self._is_closed:
            new = pc.unique(content_ids.filter(pc.is_null(found)))
            self._ids = pa.concat_arrays([self._ids, new])
            found = pc.index_in(content_ids, value_set=self._ids)
        return np.asarray(found.fill_null(-1)).astype(np.int32)

    def ranked(self) -> tuple[pa.Array, np.ndarray]:
        """-> (the ids in ascending order of their bytes; int32, the place in this order of each number)."""
        order = pc.sort_indices(self._ids).to_numpy()
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return self._ids.take(pa.array(order)), rank
