"""The grid of finite scalar quantization (Mentzer et al. 2023): d dimensions with a few levels each, whose cells are
numbered by mixed radix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fuseid.core.errors import BadInput
from fuseid.core.fsq_levels import levels_of
from fuseid.core.surface import setting


class Grid:
    """size: the number of cells. levels: of each dimension; their product is the size.

    The places of dimension i are the integers 0 to levels[i] - 1. Its points are one apart and centred on zero: -0.5
    and 0.5 for two levels, -1, 0 and 1 for three.
    """

    def __init__(self, size: int, levels: Sequence[int] | None = None, key: str = "fsq_levels") -> None:
        """levels: by default two for each dimension. key: their name in the configuration. Raises BadInput for what
        `levels_of` refuses."""
        try:
            self.levels, self.size = levels_of(size, levels), size
        except ValueError as error:
            sizes = setting("tokenizer.codebook_sizes")
            raise BadInput(f"{error}; change {setting(f'tokenizer.{key}')} or {sizes}") from None
        self.half = torch.tensor([level / 2 for level in self.levels])
        # The last dimension counts in ones, the one before in steps of its levels, and so on.
        self._steps = np.cumprod([1, *self.levels[:0:-1]], dtype=np.int64)[::-1].copy()

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
