"""Pictures of every depth, sample format and layout, each with what a second decoder shows of it.

TIFF is written and read back by tifffile and imagecodecs; everything else is read by FFmpeg. What these two leave to
the caller (transparency, inks, depth) is computed here from the format's definition.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import av
import imagecodecs
import numpy as np

from ..data.hostile_bytes import chunk, png  # noqa: TID252  (the tests are no package)
from .picture_values import ALPHA, GREY, HEIGHT, RGB, WIDTH, Case, of_depth, on_white, shown
from .tiff_cases import tiff_cases

# By value: releases differ in the names that they take as text.
_AVIF = imagecodecs.AVIF.PIXEL_FORMAT


def cases() -> list[Case]:
    return [*tiff_cases(), *_png(), *_jpeg(), *_others()]


# PNG


def png_of(samples: np.ndarray, bits: int, colour: int, *extra: bytes) -> bytes:
    """samples: [H, W] or [H, W, C], unsigned."""
    rows = samples.reshape(len(samples), -1).astype(np.int64)
    spread = ((rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    packed = np.packbits(spread.reshape(len(rows), -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))
    return png(WIDTH, HEIGHT, depth=bits, colour=colour, extra=b"".join(extra), data=data)


def _png() -> Iterator[Case]:
    index = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    for bits in (1, 2, 4, 8, 16):
        top = (1 << bits) - 1
        grey = of_depth(GREY, bits)
        data = png_of(grey, bits, 0)
        yield Case(f"grey{bits}.png", data, ffmpeg(data))
        one = int(grey[5, 20])
        # FFmpeg compares the transparent value with samples that it has already widened.
        expected = on_white(np.atleast_3d(grey / top), (grey != one).astype(float))
        yield Case(
            f"grey{bits}-transparent.png",
            png_of(grey, bits, 0, chunk(b"tRNS", struct.pack(">H", one))),
            shown(expected),
        )
        if bits <= 8:
            count = min(1 << bits, 200)
            colours = np.random.default_rng(bits).integers(0, 256, (count, 3)).astype(np.uint8)
            palette = chunk(b"PLTE", colours.tobytes())
            for label, alpha in (("", b""), ("-transparent", b"\0"), ("-alpha", bytes(range(0, count)))):
                data = png_of(index % count, bits, 3, palette, *([chunk(b"tRNS", alpha)] if alpha else []))
                yield Case(f"palette{bits}{label}.png", data, ffmpeg(data))
        else:
            rgb = of_depth(RGB, bits)
            data = png_of(rgb, bits, 2)
            yield Case(f"rgb{bits}.png", data, ffmpeg(data))
        if bits >= 8:
            rgb = of_depth(RGB, bits)
            for label, change in (("", 0), ("-near", 1)):
                one_colour = rgb[5, 20] ^ np.array([change, 0, 0], rgb.dtype)
                data = png_of(rgb, bits, 2, chunk(b"tRNS", struct.pack(">3H", *map(int, one_colour))))
                opaque = (rgb != one_colour).any(-1).astype(float)
                yield Case(f"rgb{bits}-transparent{label}.png", data, shown(on_white(rgb / top, opaque)))
            for colour, samples in ((4, np.dstack([GREY, ALPHA])), (6, np.dstack([RGB, ALPHA]))):
                data = png_of(of_depth(samples, bits), bits, colour)
                yield Case(f"alpha{bits}-{colour}.png", data, ffmpeg(data), 2)


# The others


def ffmpeg(data: bytes) -> np.ndarray:
    """The first frame on white: uint8 [H, W, 3]."""
    with av.open(io.BytesIO(data)) as file:
        frame = next(file.decode(video=0))
        if any(component.is_alpha for component in frame.format.components) or frame.format.has_palette:
            rgba = frame.to_ndarray(format="rgba").astype(np.float64) / 255
            return shown(on_white(rgba[..., :3], rgba[..., 3]))
        return frame.to_ndarray(format="rgb24")


def _jpeg() -> Iterator[Case]:
    rgb, grey = of_depth(RGB, 8), of_depth(GREY, 8)
    encode = imagecodecs.jpeg8_encode
    for sampling in ("444", "422", "420", "440", "411"):
        data = encode(rgb, level=97, subsampling=sampling)
        yield Case(f"ycbcr-{sampling}.jpg", data, ffmpeg(data), 14)
    inks = of_depth(np.dstack([1 - RGB, 0.2 * ALPHA]), 8)
    made = {
        "grey.jpg": encode(grey, level=97),
        "rgb.jpg": encode(rgb, level=97, colorspace="rgb", outcolorspace="rgb"),
        "cmyk-inverted.jpg": encode(255 - inks, level=97, colorspace="cmyk", outcolorspace="cmyk"),
        "ycck-inverted.jpg": encode(255 - inks, level=97, colorspace="cmyk", outcolorspace="ycck"),
    }
    for name, data in made.items():
        yield Case(name, data, ffmpeg(data), 14)
    unread = "samples are of a kind that is not read"
    yield Case("12-bits.jpg", encode(of_depth(RGB, 12), level=97, bitspersample=12), unread)
    yield Case("lossless-16.jpg", encode(of_depth(GREY, 16), lossless=True, bitspersample=16), unread)


def bitmap(bits: int, masks: tuple[int, ...], header: int) -> bytes:
    """Colours, and alpha if there is a fourth mask, in the bits that the masks name."""
    values = np.zeros((HEIGHT, WIDTH), np.uint32)
    for mask, channel in zip(masks, (*RGB.transpose(2, 0, 1), ALPHA), strict=False):
        count, shift = mask.bit_count(), (mask & -mask).bit_length() - 1
        values |= np.round(channel * ((1 << count) - 1)).astype(np.uint32) << shift
    data = values.astype("<u4" if bits == 32 else "<u2").tobytes()
    head = struct.pack("<IiiHHIIiiII", header, WIDTH, -HEIGHT, 1, bits, 3, len(data), 0, 0, 0, 0)
    named = b"".join(struct.pack("<I", mask) for mask in masks)
    head += named if header == 40 else named.ljust(header - 40, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + len(data), 0, 0, 14 + len(head)) + head + data


def _others() -> Iterator[Case]:
    rgb = of_depth(RGB, 8)
    with_alpha = of_depth(np.dstack([RGB, ALPHA]), 8)
    made = {
        "lossless.webp": imagecodecs.webp_encode(rgb, lossless=True),
        "lossless-alpha.webp": imagecodecs.webp_encode(with_alpha, lossless=True),
        "lossy-alpha.webp": imagecodecs.webp_encode(with_alpha, level=98),
    }
    for name, data in made.items():
        yield Case(name, data, ffmpeg(data), 9 if "lossy" in name else 2)
    layouts: dict[str, tuple[int, tuple[int, ...]]] = {
        "555": (16, (0x7C00, 0x3E0, 0x1F)),
        "565": (16, (0xF800, 0x7E0, 0x1F)),
        "bgrx": (32, (0xFF0000, 0xFF00, 0xFF)),
        "xbgr": (32, (0xFF000000, 0xFF0000, 0xFF00)),
    }
    for name, (bits, masks) in layouts.items():
        data = bitmap(bits, masks, 40)
        yield Case(f"{name}.bmp", data, ffmpeg(data), 5 if bits == 16 else 1)
    for header in (56, 108, 124):
        for name, masks in (
            ("bgra", (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
            ("rgba", (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
        ):
            yield Case(f"{name}-{header}.bmp", bitmap(32, masks, header), shown(on_white(RGB, ALPHA)), 2)
    for name, masks in (("444", (0xF00, 0xF0, 0xF)), ("101010", (0x3FF00000, 0xFFC00, 0x3FF))):
        yield Case(f"{name}.bmp", bitmap(16 if name == "444" else 32, masks, 40), "Unsupported BMP bitfields")
    for bits in (8, 10, 12):
        for layout in ("444", "422", "420", "400"):
            samples = of_depth(GREY if layout == "400" else RGB, bits)
            data = imagecodecs.avif_encode(
                samples, level=97, bitspersample=bits, pixelformat=_AVIF[f"YUV{layout}"], speed=10
            )
            yield Case(f"{bits}-{layout}.avif", data, ffmpeg(data), 12)
        data = imagecodecs.avif_encode(
            of_depth(np.dstack([RGB, ALPHA]), bits), level=97, bitspersample=bits, pixelformat=_AVIF["YUV444"], speed=10
        )
        yield Case(f"{bits}-alpha.avif", data, shown(on_white(RGB, ALPHA)), 9)
    for name, bits in (("8", 8), ("16", 16)):
        # imagecodecs writes 16 bits as linear light.
        light = RGB if bits == 8 else np.where(RGB <= 0.04045, RGB / 12.92, ((RGB + 0.055) / 1.055) ** 2.4)
        yield Case(f"{name}.jxl", imagecodecs.jpegxl_encode(of_depth(light, bits), lossless=True), shown(RGB))
    alpha = imagecodecs.jpegxl_encode(with_alpha, lossless=True)
    yield Case("alpha.jxl", alpha, shown(on_white(RGB, ALPHA)), 2)
    yield Case("grey.jxl", imagecodecs.jpegxl_encode(of_depth(GREY, 8), lossless=True), shown(GREY))
