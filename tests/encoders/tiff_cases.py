"""TIFFs of every depth, sample format and layout, with what tifffile and imagecodecs read of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import tifffile
from PIL import Image, ImageCms

from .picture_values import ALPHA, GREY, HEIGHT, RGB, WIDTH, Case, of_depth, on_white, shown


def tiff(pixels: np.ndarray, **how: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **how)
    return file.getvalue()


def tiff_reference(data: bytes) -> np.ndarray:
    """What tifffile and imagecodecs read, from 0 (black, or no ink) to 1, and shown as its photometry says."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        samples = page.asarray()
        kind, extra = page.photometric.name, [int(each) for each in page.extrasamples]
        if page.planarconfig == 2:
            samples = samples.transpose(1, 2, 0)
        if kind == "PALETTE":
            return shown(page.colormap.T[samples] / (65535 if page.colormap.max() > 255 else 255))
        top = 1.0 if samples.dtype.kind == "f" else (1 << page.bitspersample) - 1
        values = np.atleast_3d(samples.astype(np.float64) / top)
    base = {"MINISBLACK": 1, "MINISWHITE": 1, "SEPARATED": 4}.get(kind, 3)
    colours = values[..., :base]
    if kind == "MINISWHITE":
        colours = 1 - colours
    if kind == "SEPARATED":
        colours = (1 - colours[..., :3]) * (1 - colours[..., 3:])
    if kind == "YCBCR":
        colours = np.asarray(Image.fromarray(samples, "YCbCr").convert("RGB")) / 255
    if extra and extra[0] in (1, 2):
        alpha = values[..., base]
        colours = on_white(colours, alpha) if extra[0] == 2 else colours + 1 - alpha[..., None]
    return shown(colours)


def _tiff_case(
    label: str, how: dict, what: str, pixels: np.ndarray, refused: str | None = None, **more: object
) -> Case:
    data = tiff(pixels, **how, **more)
    # Of 16 bits, Pillow keeps the upper 8 before it mixes inks or divides by alpha.
    tolerance = 2 if pixels.dtype == np.uint16 else 1
    return Case(f"{what}-{label}", data, refused or tiff_reference(data), tolerance)


def _in_both_orders(case: Callable[..., Case], what: str, pixels: np.ndarray, **how: object) -> Iterator[Case]:
    """The samples pixel by pixel, and plane by plane."""
    yield case(what, pixels, planarconfig="contig", **how)
    yield case(f"{what}-planes", np.ascontiguousarray(pixels.transpose(2, 0, 1)), planarconfig="separate", **how)


def lab_reference(samples: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of 8 bits, a* and b* signed, at D50 (ISO 12639) -> sRGB."""
    lightness, a, b = samples[..., 0] * (100 / 255), *(samples[..., i].astype(np.int8) for i in (1, 2))
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], -1)
    xyz = np.where(roots > 6 / 29, roots**3, (roots - 4 / 29) * 3 * (6 / 29) ** 2) * [0.9642, 1.0, 0.8249]
    to_linear = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]
    light = (xyz @ np.transpose(to_linear)).clip(0, 1)
    return shown(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def tiff_cases() -> Iterator[Case]:
    unread = "samples are of a kind that is not read"
    for order, name in (("<", "II"), (">", "MM")):
        for packing in (None, "lzw", "deflate", "packbits", "lzma", "zstd"):
            how = {"byteorder": order, "compression": packing}
            label = f"{name}-{packing or 'raw'}.tif"

            case = partial(_tiff_case, label, how)

            both = partial(_in_both_orders, case)
            for bits in (8, 16):
                deep = unread if bits == 16 and name == "MM" else None
                yield case(f"grey{bits}", of_depth(GREY, bits), photometric="minisblack")
                yield case(f"white{bits}", of_depth(1 - GREY, bits), deep, photometric="miniswhite")
                yield case(f"tiles{bits}", of_depth(RGB, bits), photometric="rgb", tile=(16, 16))
                yield from both(f"rgb{bits}", of_depth(RGB, bits), photometric="rgb")
                inks = np.concatenate([1 - RGB, 0.2 * ALPHA[..., None]], -1)
                yield from both(f"cmyk{bits}", of_depth(inks, bits), photometric="separated")
                for extra in ("unassalpha", "assocalpha", "unspecified"):
                    times = ALPHA if extra == "assocalpha" else 1
                    four = of_depth(np.dstack([RGB * np.atleast_3d(times), ALPHA]), bits)
                    yield case(f"rgb{bits}-{extra}", four, photometric="rgb", extrasamples=[extra])
                    two = of_depth(np.dstack([GREY * times, ALPHA]), bits)
                    more = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [extra]}
                    yield case(f"grey{bits}-{extra}", two, unread if bits == 16 else None, **more)
                if packing in ("lzw", "deflate"):
                    yield case(f"differences{bits}", of_depth(RGB, bits), photometric="rgb", predictor=True)
            yield case("grey1", GREY > 0.5, photometric="minisblack")
            yield case("white1", GREY > 0.5, photometric="miniswhite")
            yield case("float32", GREY.astype(np.float32), photometric="minisblack")
            yield case("float32-white", GREY.astype(np.float32), photometric="miniswhite")
            for bits in (16, 64):
                yield case(f"float{bits}", GREY.astype(f"f{bits // 8}"), unread, photometric="minisblack")
            yield case("rgb-float32", RGB.astype(np.float32), unread, photometric="rgb")
            bright = "floating-point samples go up to 255, where 1 is white"
            yield case("float32-255", (255 * GREY).astype(np.float32), bright, photometric="minisblack")
            for kind in (np.int8, np.int16, np.int32):
                signed = np.round(GREY * np.iinfo(kind).max).astype(kind)
                yield case(kind.__name__, signed, "signed samples, for which no black", photometric="minisblack")
            wide = "32-bit samples, for which no black" if name == "II" else unread
            yield case("uint32", of_depth(GREY, 32), wide, photometric="minisblack")
            colours = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
            index = (np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 256).astype(np.uint8)
            yield case("palette", index, photometric="palette", colormap=257 * colours)
            yield case("palette-of-8-bits", index, photometric="palette", colormap=colours)
            luma = np.asarray(Image.fromarray(shown(RGB)).convert("YCbCr"))
            yield case("ycbcr", luma, photometric="ycbcr", subsampling=(1, 1))
        for bits in (2, 4, 6, 10, 12, 14):
            data = _packed_tiff(of_depth(GREY, bits), bits, order)
            expected = shown(of_depth(GREY, bits) / ((1 << bits) - 1))
            known = bits in (2, 4) or (bits == 12 and name == "II")
            yield Case(f"grey{bits}-{name}.tif", data, expected if known else unread)
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = np.asarray(ImageCms.profileToProfile(Image.fromarray(shown(RGB)), *profiles, outputMode="LAB"))
    yield Case("cielab.tif", tiff(lab, photometric="cielab"), lab_reference(lab), 3)
    file = io.BytesIO()
    Image.fromarray(shown(RGB)).convert("YCbCr").save(file, "TIFF", compression="jpeg", quality=98)
    yield Case("jpeg-within.tif", file.getvalue(), shown(RGB), 9)
    raw = tiff(of_depth(GREY, 8), photometric="minisblack", extratags=[(50706, 1, 4, (1, 4, 0, 0), True)])
    yield Case("negative.dng", raw, "a camera's raw file")


def _packed_tiff(samples: np.ndarray, bits: int, order: str) -> bytes:
    """Grey samples of any depth, each row packed from its highest bit on; tifffile writes only whole bytes so."""
    spread = ((samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    pixels = np.packbits(spread.reshape(len(samples), -1), axis=1).tobytes()
    height, width = samples.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1),
            (278, 3, height), (279, 4, len(pixels))]  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(f"{order}I" if kind == 4 else f"{order}H2x", value)
        for tag, kind, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + bytes(122 - len(head) - len(entries)) + pixels
