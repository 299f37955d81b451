"""Pictures in formats whose decoders are optional dependencies: HEIC, which phones write, and JPEG XL."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from fuseid.core.errors import Unrecognised
from fuseid.core.extras import install
from fuseid.encoders.jxl_header import read_header
from fuseid.encoders.picture_colour import LINEAR, SRGB, srgb_curve

# Format -> (the extra of the package `fuseid`, the module that decodes it).
EXTRAS = {"HEIC": ("heif", "pi_heif"), "JPEG XL": ("jxl", "imagecodecs")}
# Raised when pictures are decoded that were rejected before: rejected items are then tried again.
_REVISION = 3


def picture_decoders() -> list[str]:
    """What decides which pictures are decoded, apart from their bytes: a revision and the extras that are installed."""
    return [str(_REVISION), *(extra for extra, module in EXTRAS.values() if find_spec(module) is not None)]


def open_heic(file: BinaryIO) -> Image.Image:
    """The primary picture, not yet decoded, in the orientation of its container, whatever its EXIF says. Raises
    Unrecognised without the extra."""
    pi_heif = _module("HEIC")
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    return pi_heif.HeifImageFile(file)


class JxlPicture:
    """size: (width, height) as shown, from the header. cicp: see `picture_colour`.

    Raises Unrecognised without the extra, and for colours that cannot be known; ValueError for a damaged header.
    """

    def __init__(self, data: bytes) -> None:
        self._library = _module("JPEG XL")
        self._data = data
        self._header = header = read_header(data)
        if header.has_profile or header.black:
            what = "an ICC profile describes its colours" if header.has_profile else "it has a channel of black ink"
            raise Unrecognised(f"it is JPEG XL of a kind that is not read: {what}; convert it to JPEG or PNG")
        self.size = (header.width, header.height)
        self._linear = header.cicp is not None and header.cicp[1] == LINEAR
        self.cicp = (header.cicp[0], SRGB) if header.cicp is not None and self._linear else header.cicp

    def decode(self) -> Image.Image:
        """L, LA, RGB or RGBA, turned as the header says; of an animation the first frame."""
        samples = self._library.jpegxl_decode(self._data, index=0, numthreads=1)
        if samples.ndim == 3 and samples.shape[2] > 4:
            raise Unrecognised(f"it has {samples.shape[2]} channels, where a picture has at most 4; convert it to JPEG")
        return Image.fromarray(self._eight_bits(samples))

    def _eight_bits(self, samples: np.ndarray) -> np.ndarray:
        """[H, W] or [H, W, C] -> uint8. Linear samples become sRGB here: 8 bits would be too few for them."""
        if samples.dtype == np.uint8 and not self._linear and not self._header.premultiplied:
            return samples
        top = 1.0 if samples.dtype.kind == "f" else float((1 << self._header.bits) - 1)
        scaled = np.nan_to_num(samples.astype(np.float32) / np.float32(top), nan=0.0).clip(0, 1)
        colours = scaled[..., :-1] if samples.ndim == 3 and samples.shape[2] in (2, 4) else scaled
        if self._header.premultiplied:
            colours[...] = (colours / np.maximum(scaled[..., -1:], 1e-6)).clip(0, 1)
        if self._linear:
            colours[...] = srgb_curve(colours)
        return (255 * scaled + 0.5).astype(np.uint8)


def _module(name: str) -> Any:
    extra, module = EXTRAS[name]
    try:
        return import_module(module)
    except ImportError:
        raise Unrecognised(f"it is {name}: {install(extra)}, or convert it to JPEG or PNG") from None
