"""The grid of finite scalar quantization (Mentzer et al. 2023): d dimensions with a few levels each, whose cells are
numbered by mixed radix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from fuseid.core.errors import BadInput
from fuseid.core.surface import setting

# Codes are int32.
_MOST_CODES = 2**31 - 1


class Grid:
    """levels: the number of levels of each dimension. size: of all cells, the product of the levels.

    The places of dimension i are the integers 0 to levels[i] - 1. Its points are one apart and centred on zero: -0.5
    and 0.5 for two levels, -1, 0 and 1 for three.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        """Raises BadInput for no dimension, for fewer than two levels, and for more cells than an int32 can number."""
        self.levels = tuple(int(level) for level in levels)
        self.size = math.prod(self.levels)
        if not self.levels or min(self.levels) < 2:
            raise BadInput(f"FSQ needs at least one dimension, each of at least 2 levels, not {list(self.levels)}")
        if self.size > _MOST_CODES:
            raise BadInput(f"FSQ of levels {list(self.levels)} has {self.size} codes; at most {_MOST_CODES} are possible")
        self.half = torch.tensor([level / 2 for level in self.levels])
        # The last dimension counts in ones, the one before in steps of its levels, and so on.
        self._steps = np.cumprod([1, *self.levels[:0:-1]], dtype=np.int64)[::-1].copy()

    @classmethod
    def of_size(cls, size: int, levels: Sequence[int] | None, key: str) -> Grid:
        """The grid of a codebook of `size` codes: of these levels, or by default of two levels each. key: the name of
        the levels in the configuration. Raises BadInput if the levels have another number of cells."""
        if levels is None:
            if size < 2 or size & size - 1:
                raise BadInput(
                    f"{setting(key)}: two levels per dimension make a power of two, not {size} codes; "
                    f"name levels whose product is {size}, or change {setting('tokenizer.codebook_sizes')}"
                )
            levels = [2] * (size.bit_length() - 1)
        grid = cls(levels)
        if grid.size != size:
            raise BadInput(
                f"{setting(key)}: levels {list(grid.levels)} make {grid.size} codes, the codebook has {size}; "
                f"change them or {setting('tokenizer.codebook_sizes')}"
            )
        return grid

    def codes(self, places: np.ndarray) -> np.ndarray:
        """int [.., d] -> int32 [..]: mixed radix, the first dimension counts most."""
        return (np.asarray(places, np.int64) @ self._steps).astype(np.int32)

    def places(self, codes: np.ndarray) -> np.ndarray:
        """int [..] -> int32 [.., d], the inverse of `codes`."""
        return (np.asarray(codes, np.int64)[..., None] // self._steps % self.levels).astype(np.int32)

    def points(self) -> torch.Tensor:
        """float32 [size, d]: the point of each code."""
        return torch.from_numpy(self.places(np.arange(self.size)).astype(np.float32)) - (self.half - 0.5)

    def bounded(self, scalars: torch.Tensor) -> torch.Tensor:
        """float32 [.., d], standardised -> within the grid, so that for normal scalars every place is about equally
        likely: 0.8 in the tanh brings it closest to the normal distribution function."""
        return torch.tanh(0.8 * scalars) * self.half.to(scalars.device)

    def rounded(self, bounded: torch.Tensor) -> torch.Tensor:
        """float32 [.., d] -> int64 [.., d]: the place of the nearest point."""
        half = self.half.to(bounded.device)
        return torch.floor(bounded + half).long().clamp_(min=0).minimum((2 * half - 1).long())
