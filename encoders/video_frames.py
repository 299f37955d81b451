"""Shared by the video decoders: a video's properties, the record of its sampled frames, and conversion to RGB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

from fuseid.encoders.images import bounded_size
from fuseid.encoders.orientation import Orientation, from_display_matrix
from fuseid.encoders.picture_colour import from_cicp, is_srgb

# FFmpeg's scaler takes the bytes of these in the wrong order if it converts them to 24 bits at once.
_CONVERTED_WRONGLY = frozenset({"rgb565be", "rgb555be", "bgr565be", "bgr555be"})


@dataclass(frozen=True, slots=True)
class Facts:
    """width, height: pixels as shown. orientation: how stored frames are shown.

    stored_size: (width, height) to scale stored frames to, before they are oriented. duration: seconds. is_plain:
    whether frames only have to be scaled: they are opaque, without a palette, of standard dynamic range and gamut, and
    shown as they are stored.
    """

    width: int
    height: int
    orientation: Orientation
    stored_size: tuple[int, int]
    duration: float
    is_plain: bool

    @property
    def shown_size(self) -> tuple[int, int]:
        """(width, height) of sampled frames, scaled and oriented."""
        width, height = self.stored_size
        return (height, width) if self.orientation.transposed else (width, height)


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
    """Applies the pixel aspect ratio (`pixel_aspect`, width to height) and the orientation stored in `frame`."""
    width, height = frame.width, frame.height
    if pixel_aspect and Fraction(1, 16) <= pixel_aspect <= 16:
        width = max(1, round(width * pixel_aspect))
    orientation = _orientation(frame)
    shown = (height, width) if orientation.transposed else (width, height)
    is_odd = frame.format.has_palette or frame.format.name in _CONVERTED_WRONGLY
    is_usual = not (_has_alpha(frame) or is_odd) and is_srgb(frame.color_primaries, frame.color_trc)
    return Facts(
        *shown, orientation, bounded_size(width, height, long_side), duration, is_usual and orientation == Orientation()
    )


def to_rgb(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """uint8 [height, width, 3], not oriented: on white where it is transparent, in standard range and gamut."""
    if _has_alpha(frame):
        frame = av.VideoFrame.from_ndarray(_on_white(_scaled(frame, frame.width, frame.height, "rgba")), "rgb24")
    elif not is_srgb(frame.color_primaries, frame.color_trc):
        deep = _scaled(frame, width, height, "rgb48le")
        return from_cicp(deep, frame.color_primaries, frame.color_trc)
    return _scaled(frame, width, height, "rgb24")


def to_rgb_stack(frames: Sequence[av.VideoFrame], facts: Facts) -> np.ndarray:
    """uint8 [T, H, W, 3]: scaled, then oriented, each written once into the result."""
    width, height = facts.shown_size
    stacked = np.empty((len(frames), height, width, 3), np.uint8)
    for index, frame in enumerate(frames):
        stacked[index] = facts.orientation.apply(to_rgb(frame, *facts.stored_size))
    return stacked


def _scaled(frame: av.VideoFrame, width: int, height: int, pixels: str) -> np.ndarray:
    """One thread: by default, FFmpeg would start one per core for every frame."""
    if frame.format.name in _CONVERTED_WRONGLY:
        frame = frame.reformat(width, height, "gbrp", interpolation="AREA", threads=1)
    return frame.reformat(width, height, pixels, interpolation="AREA", threads=1).to_ndarray()


def _has_alpha(frame: av.VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4], alpha not multiplied into the colours, to uint8 [H, W, 3]."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _orientation(frame: av.VideoFrame) -> Orientation:
    data: Any = frame.side_data  # a mapping by type, which PyAV declares as one by number
    matrix = data.get(Type.DISPLAYMATRIX)
    return Orientation() if matrix is None else from_display_matrix(bytes(matrix))


def _unlisted(cls: type[Type], value: int) -> Type:
    """A member for a type of side data that FFmpeg has and PyAV's list lacks, such as EXIF in Motion JPEG: otherwise, a
    frame with such data has no readable display matrix."""
    member: Any = object.__new__(cls)
    member._name_, member._value_ = f"UNLISTED_{value}", value
    return member


Type._missing_ = classmethod(_unlisted)  # type: ignore[assignment]
