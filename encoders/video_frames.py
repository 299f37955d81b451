"""Shared by the video decoders: a video's properties, the record of its sampled frames, and conversion to RGB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from fuseid.encoders.images import bounded_size


@dataclass(frozen=True, slots=True)
class Facts:
    """width, height: pixels as shown. quarter_turns: counter-clockwise, to apply to stored frames.

    stored_size: (width, height) to scale stored frames to, before rotation. duration: seconds.
    """

    width: int
    height: int
    quarter_turns: int
    stored_size: tuple[int, int]
    duration: float

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) of sampled frames, scaled and rotated."""
        width, height = self.stored_size
        return (height, width) if self.quarter_turns % 2 else (width, height)


@dataclass(frozen=True, slots=True)
class Sampled:
    """frames uint8 [T, H, W, 3]; timestamps float64 [T], seconds from the first frame; the rest as in `Decoded`."""

    frames: np.ndarray
    timestamps: np.ndarray
    width: int
    height: int
    duration: float
    decoder: str


def facts_of(frame: av.VideoFrame, pixel_aspect: Fraction | None, long_side: int, duration: float) -> Facts:
    """Applies the pixel aspect ratio (`pixel_aspect`, width to height) and the rotation stored in `frame`."""
    width, height = frame.width, frame.height
    if pixel_aspect and Fraction(1, 16) <= pixel_aspect <= 16:
        width = max(1, round(width * pixel_aspect))
    quarter_turns = round(frame.rotation / 90) % 4
    shown = (height, width) if quarter_turns % 2 else (width, height)
    return Facts(*shown, quarter_turns, bounded_size(width, height, long_side), duration)


def scale_rgb(frame: np.ndarray, facts: Facts) -> np.ndarray:
    """A rotated frame uint8 [H, W, 3] scaled to `facts.shown_size`, with the filter that `to_rgb_stack` uses."""
    width, height = facts.shown_size
    if frame.shape[:2] == (height, width):
        return frame
    return scaled(av.VideoFrame.from_ndarray(frame, "rgb24"), width, height)


def scaled(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3]. One thread: by default, FFmpeg would start one per core for every frame."""
    return frame.reformat(width, height, "rgb24", interpolation="AREA", threads=1).to_ndarray()


def to_rgb_stack(frames: Sequence[av.VideoFrame], facts: Facts) -> np.ndarray:
    """uint8 [T, H, W, 3]: scaled, then rotated, each written once into the result."""
    width, height = facts.shown_size
    stacked = np.empty((len(frames), height, width, 3), np.uint8)
    stored_width, stored_height = facts.stored_size
    for index, frame in enumerate(frames):
        stacked[index] = np.rot90(scaled(frame, stored_width, stored_height), facts.quarter_turns)
    return stacked
