"""Colours to sRGB, which encoders are trained on: from an ICC profile, or from a colour space named by number (CICP,
ITU-T H.273), as AVIF, HEIC and PNG name wide gamut and HDR."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from fuseid.encoders.png_chunks import MOST_PROFILE_BYTES

# Largest difference in 8 bits between a profile's colours and sRGB's at which they count as the same.
_SAME = 2
# An ICC profile; or numbers of CICP, of which the primaries and the transfer function are used; or sRGB.
Colours = bytes | tuple[int, ...] | None
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}

# Transfer functions of CICP.
LINEAR, SRGB, _PQ, _HLG = 8, 13, 16, 18
# Linear RGB of other primaries, of white D65, to linear sRGB: BT.2020 and Display P3 (ITU-R BT.2087; SMPTE EG 432-1).
_TO_SRGB = {
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]),
}
_UNNAMED = 2
HDR = frozenset({_PQ, _HLG})
# Luminance of white in HDR, in cd/m2, and the peak that HLG is graded for (ITU-R BT.2408).
_HDR_WHITE, _HLG_PEAK = 203.0, 1000.0


def to_srgb(picture: Image.Image, colours: Colours) -> Image.Image:
    """L, RGB, RGBA or CMYK -> L, RGB or RGBA. A profile that is damaged, or of another kind of picture, is ignored."""
    if isinstance(colours, tuple):
        if not is_srgb(*colours[:2]) and picture.mode != "CMYK":
            return _with_colours(picture, from_cicp(np.asarray(picture.convert("RGB")), *colours[:2]))
    elif colours is not None and (found := _transform(colours)) is not None:
        mode, transform = found
        if picture.mode == mode:
            return transform.apply(picture)
        if picture.mode == "RGBA" and mode == "RGB":
            return _with_colours(picture, np.asarray(transform.apply(picture.convert("RGB"))))
        if picture.mode == "RGBA" and mode == "L" and picture.getchannel("R") == picture.getchannel("G"):
            return _with_colours(picture, np.asarray(transform.apply(picture.getchannel("R"))))
    return picture.convert("RGB") if picture.mode == "CMYK" else picture


def is_srgb(primaries: int, transfer: int) -> bool:
    """Whether the colours that numbers of CICP name are shown as they are: BT.709, what is close to it, and what is not
    named."""
    return primaries not in _TO_SRGB and transfer not in (LINEAR, _PQ, _HLG)


def _with_colours(picture: Image.Image, colours: np.ndarray) -> Image.Image:
    new = Image.fromarray(colours)
    if picture.mode == "RGBA":
        new.putalpha(picture.getchannel("A"))
    return new


@lru_cache(maxsize=4)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode of a profile's pictures and their transform to sRGB; None if they are sRGB, or cannot be transformed."""
    if len(profile) > MOST_PROFILE_BYTES:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES[opened.profile.xcolor_space.strip()]
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(opened))
        # Greys through a table of a few, as is the default, are up to 10 of 255 off.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB", intent, flags)
        if mode == "CMYK":
            return mode, transform
        levels = np.linspace(0, 255, 9).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
        probe = Image.fromarray(grid if mode == "RGB" else grid[..., 0])
        shift = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError, TypeError):
        return None
    return (mode, transform) if np.abs(shift).max() > _SAME else None


def from_cicp(rgb: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """uint8 or uint16 [H, W, 3] -> uint8 [H, W, 3]. HDR is cut at the luminance of white, so that what is not a
    highlight looks as in SDR; its primaries are those of BT.2020 (as ITU-R BT.2100 demands) if none are named."""
    if primaries == _UNNAMED and transfer in HDR:
        primaries = 9
    curve = _linear(transfer, np.iinfo(rgb.dtype).max)
    linear = curve[rgb]
    if transfer == _HLG:
        # The system gamma of HLG, from the light of the scene to that of a display.
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593])
        linear = linear * (luminance[..., None] ** 0.2) * (_HLG_PEAK / _HDR_WHITE)
    if primaries in _TO_SRGB:
        linear = linear @ _TO_SRGB[primaries].T
    return (255 * srgb_curve(linear.clip(0, 1)) + 0.5).astype(np.uint8)


def srgb_curve(linear: np.ndarray) -> np.ndarray:
    """Light from 0 to 1 -> values of sRGB from 0 to 1 (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=4)
def _linear(transfer: int, top: int) -> np.ndarray:
    """float64 [top + 1]: the linear light of each value, 1 for white; for HLG that of the scene, 1 for the peak."""
    x = np.arange(top + 1) / top
    if transfer == LINEAR:
        return x
    if transfer == _PQ:  # SMPTE ST 2084
        root = x ** (1 / 78.84375)
        return (10_000 / _HDR_WHITE) * ((root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)) ** (
            1 / 0.1593017578125
        )
    if transfer == _HLG:  # ITU-R BT.2100
        return np.where(x <= 0.5, x**2 / 3, (np.exp((x - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
