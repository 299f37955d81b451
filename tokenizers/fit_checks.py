"""What every fit checks before it begins: vectors are finite, and different enough to fill a codebook."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.row_blocks import Block, Blocks
from fuseid.core.surface import setting


def checked_mean(blocks: Blocks, size: int) -> np.ndarray:
    """float64 [D]: the mean of all vectors. Raises BadInput for NaN or infinity, and NotReady for fewer distinct
    vectors than `size`."""
    sums = np.zeros(blocks.dim)
    distinct: set[bytes] = set()
    for part, found in blocks.map(_Look(size)):
        if part is None:
            raise BadInput("vectors hold NaN or infinite numbers; remove those rows")
        sums += part
        if len(distinct) < size:
            distinct.update(found)
    if len(distinct) < size:
        raise NotReady(
            f"{len(distinct)} distinct vectors cannot fill a codebook of {size} codes; "
            f"ingest more items or set {setting('tokenizer.codebook_sizes')} to smaller ones"
        )
    return sums / blocks.rows


@dataclass(frozen=True)
class _Look:
    """The sum of a block's rows, float64 [D], None if it has NaN or infinity; and a hash of each distinct row, of
    `distinct` rows at most."""

    distinct: int

    def __call__(self, block: Block) -> tuple[np.ndarray | None, list[bytes]]:
        sums = np.zeros(0)
        seen: dict[bytes, None] = {}
        for chunk in block.chunks():
            if not torch.isfinite(chunk).all():
                return None, []
            sums = chunk.sum(0, dtype=torch.float64).numpy() + (sums if sums.size else 0)
            for row in chunk.numpy():
                if len(seen) >= self.distinct:
                    break
                seen[blake2b(row.data, digest_size=16).digest()] = None
        return sums, list(seen)
