"""Which levels of finite scalar quantization make a codebook."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Codes are int32.
_MOST_CODES = 2**31 - 1


def levels_of(size: int, levels: Sequence[int] | None) -> tuple[int, ...]:
    """The levels of each dimension of a codebook of `size` codes: these, or by default two each. Raises ValueError with
    a sentence for levels whose product is another size, and for fewer than two levels in a dimension."""
    if levels is None:
        if size < 2 or size & (size - 1):
            raise ValueError(f"two levels per dimension make a power of two, not {size} codes: name levels that do")
        return (2,) * (size.bit_length() - 1)
    found = tuple(int(level) for level in levels)
    if not found or min(found) < 2:
        raise ValueError(f"there must be at least one dimension, each of at least 2 levels, not {list(found)}")
    cells = math.prod(found)
    if cells > _MOST_CODES:
        raise ValueError(f"levels {list(found)} make {cells} codes; at most {_MOST_CODES} are possible")
    if cells != size:
        raise ValueError(f"levels {list(found)} make {cells} codes, but the codebook has {size}")
    return found
