"""IDs in GRID's form: a tensor whose columns are items, and whose last row is the collision digit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.pipelines.adoption.base import LARGEST, TABLE_ROWS, table_of
from fuseid.pipelines.adoption.item_map import ItemMap, named, notes_of

SUFFIX = ".pt"


class Grid:
    """`semantic_ids.pt`, integers [L + 1, N]. Digit 0 is that of a bare ID; GRID's own digits count from 1 where codes
    collide, and are kept so. The tensor is memory-mapped."""

    def __init__(self, path: Path, items: ItemMap | None) -> None:
        self.sizes: tuple[int, ...] | None = None
        self.notes = notes_of(items)
        self._path = path
        self._items = items

    def tables(self) -> Iterator[pa.Table]:
        codes_MN = _loaded(self._path)
        self.notes = [*notes_of(self._items), f"the last of its {len(codes_MN)} rows was read as the collision digit"]
        for start in range(0, codes_MN.shape[1], TABLE_ROWS):
            block_MN = codes_MN[:, start : start + TABLE_ROWS]
            if block_MN.min() < 0 or block_MN.max() > LARGEST:
                column = start + int(((block_MN < 0) | (block_MN > LARGEST)).any(0).argmax())
                raise BadInput(f"{self._path}, column {column}: codes are integers from 0 to {LARGEST}")
            numbers_N = np.arange(start, start + block_MN.shape[1], dtype=np.int64)
            ids_NM = np.ascontiguousarray(block_MN.T.astype(np.int32))
            yield table_of(named(numbers_N, self._items), np.ascontiguousarray(ids_NM[:, :-1]), ids_NM[:, -1])


def _loaded(path: Path) -> np.ndarray:
    import torch

    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # torch has no class of errors for files that it did not write, and proposes what does not help
        raise BadInput(f"{path} is no tensor as torch.save writes it: damaged, or of another kind") from None
    is_ids = isinstance(tensor, torch.Tensor) and tensor.ndim == 2 and len(tensor) > 1
    if not is_ids or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        found = f"{tensor.dtype} {list(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise BadInput(f"{path} must hold integers [levels + 1, items], it holds {found}")
    return tensor.numpy()
