"""Samples of any depth and layout to 8 bits in a mode that can be resized, as the file's format defines them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from fuseid.core.errors import Unrecognised

# Pillow's own reader of samples that are not packed takes planes of 16 bits for planes of 8; libtiff reads them all.
TiffImagePlugin.READ_LIBTIFF = True

_NEW_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _COLOUR_MAP = 254, 258, 262, 320
_SUB_DIRECTORIES, _SAMPLE_FORMAT, _DNG_VERSION = 330, 339, 50706
_WHITE_IS_ZERO, _SIGNED = 0, 2
# A picture of floats has 1.0 for white; if more than this share of the samples is brighter, it has another scale.
_MOST_BRIGHTER = 0.5


def check_tiff(image: Image.Image) -> None:
    """Raises Unrecognised for a TIFF that has no pixels to show: what its samples mean is not defined, or is a raw
    file's preview. To be called before the pixels are decoded."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if _DNG_VERSION in tags or (tags.get(_NEW_SUBFILE_TYPE, 0) & 1 and _SUB_DIRECTORIES in tags):
        raise Unrecognised("it is a camera's raw file, which is not developed here; convert it to JPEG")
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) or image.mode == "I":
        kind = "signed" if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) else "32-bit"
        raise Unrecognised(
            f"it has {kind} samples, for which no black and white are defined; convert it to unsigned samples of 8 or "
            "16 bits"
        )


def tiff_layout(data: bytes) -> str:
    """The tags that say what a TIFF's samples are, for a message; empty if they cannot be read."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8])
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        named = {"BitsPerSample": _BITS, "SampleFormat": _SAMPLE_FORMAT, "PhotometricInterpretation": _PHOTOMETRIC}
        return ", ".join(f"{name} {directory[tag]}" for name, tag in named.items() if tag in directory)
    except Exception:  # a damaged directory raises almost anything
        return ""


def low_bytes(png: bytes) -> Image.Image:
    """The second bytes of a PNG of 16 bits per colour, of which Pillow keeps the first ones."""
    image = Image.open(io.BytesIO(png), formats=["PNG"])
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    image.load()
    return image


def to_resizable(image: Image.Image, png_depth: int = 8) -> Image.Image:
    """A decoded picture -> L, RGB, RGBA or CMYK, in which resizing works; it does not in palettes, 1 bit and integers.

    png_depth: bits per sample of a PNG. Raises Unrecognised for floats whose white is not 1.0.
    """
    transparent = image.info.get("transparency")
    if image.mode in ("RGB", "L", "RGBA", "CMYK") and transparent is None:
        return image
    if image.mode[0] in "IF":
        return _grey_of_samples(image)
    if image.mode in ("L", "1", "RGB") and transparent is not None and image.format == "PNG":
        return _without_one_colour(image, transparent, png_depth)
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        # Not through a table of a few colours, which is up to 30 of 255 off.
        picture = ImageCms.profileToProfile(image, *profiles, outputMode="RGB", flags=ImageCms.Flags.NOOPTIMIZE)
        assert picture is not None  # only with inPlace=True
        return picture
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "P" and image.format == "TIFF":
        _use_small_colour_map(image)
    if transparent is not None or image.mode in ("LA", "PA", "RGBa"):
        return image.convert("RGBA")
    return image.convert("RGB")


def _grey_of_samples(image: Image.Image) -> Image.Image:
    """16 bits or floats to L; to RGBA if one value is transparent."""
    tags: Any = getattr(image, "tag_v2", {})
    samples = np.asarray(image)
    if image.mode == "F":
        # libtiff gives the samples in this machine's order, Pillow expects them in the file's.
        samples = samples.byteswap() if tags.prefix == b"MM" else samples
        brighter = np.count_nonzero(samples > 1.0)
        if brighter > _MOST_BRIGHTER * samples.size:
            raise Unrecognised(
                f"its floating-point samples go up to {samples.max():g}, where 1 is white; convert it to 8 or 16 bits"
            )
        top = 1.0
    else:
        top = float((1 << max(tags.get(_BITS, (16,)))) - 1)
    scaled = np.nan_to_num(samples.astype(np.float32) * np.float32(255.0 / top), nan=0.0)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        scaled = 255.0 - scaled
    grey = Image.fromarray(np.clip(scaled + 0.5, 0, 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    alpha = Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (grey, grey, grey, alpha))


def _without_one_colour(image: Image.Image, transparent: int | tuple[int, ...], depth: int) -> Image.Image:
    """RGBA of a PNG in which one colour, in the file's own depth, is transparent."""
    colour = np.atleast_1d(np.array(transparent, np.int64))
    grey = image if image.mode == "RGB" else image.convert("L")
    samples = np.atleast_3d(np.asarray(grey)).astype(np.int64)
    if depth < 8:
        colour = colour % (1 << depth) * 255 // ((1 << depth) - 1)
    elif depth == 16:
        samples = samples << 8 | np.atleast_3d(np.asarray(image.info["fuseid_low_bytes"]))
    rgba = grey.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.where((samples == colour).all(-1), 0, 255).astype(np.uint8)))
    return rgba


def _use_small_colour_map(image: Image.Image) -> None:
    """Some old writers filled the palette of a TIFF, 16 bits per colour, with 8-bit colours."""
    colours = image.tag_v2.get(_COLOUR_MAP, ())  # type: ignore[attr-defined]
    if colours and max(colours) < 256:
        count = len(colours) // 3
        image.putpalette([colours[channel * count + i] for i in range(count) for channel in range(3)])


def to_full_range(picture: Image.Image) -> Image.Image:
    """L, RGB or RGBA whose colours go from 16 to 235 -> from 0 to 255; alpha stays."""
    table = [min(255, max(0, round((value - 16) * 255 / 219))) for value in range(256)]
    colours = len(picture.getbands()) - picture.mode.endswith("A")
    return picture.point(table * colours + list(range(256)) * (len(picture.getbands()) - colours))
