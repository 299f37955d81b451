"""The eight orientations in which a picture can be shown, and those that a display matrix means."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Orientation:
    """What to do with a stored picture to show it: first exchange rows and columns, then mirror left and right, then
    flip top and bottom."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def apply(self, picture_HWC: np.ndarray) -> np.ndarray:
        """A view of the picture, [W, H, C] if transposed."""
        shown = picture_HWC.swapaxes(0, 1) if self.transposed else picture_HWC
        return shown[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]


AS_STORED = Orientation()


def from_display_matrix(matrix: bytes) -> Orientation:
    """The orientation nearest to FFmpeg's display matrix: nine int32 a b u c d v x y w in native order, which map the
    stored pixel (x, y) to (a x + c y, b x + d y). A matrix that maps the picture to a line means nothing."""
    if len(matrix) < 36:
        return AS_STORED
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix[:36])
    if not (a or c) or not (b or d):
        return AS_STORED
    # The angle as FFmpeg determines it: each coordinate's scale is removed first.
    if abs(b) * math.hypot(a, c) > abs(a) * math.hypot(b, d):
        return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
    return Orientation(mirrored=a < 0, flipped=d < 0)
