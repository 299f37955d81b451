"""Still pictures to RGB arrays, with Pillow: uniform orientation, colour mode and bit depth, limited size."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, ItemError, TooLarge, Unrecognised
from fuseid.core.reasons import reason
from fuseid.core.records import Decoded
from fuseid.encoders.extra_formats import JxlPicture, open_heic
from fuseid.encoders.gif_canvas import on_background
from fuseid.encoders.heif_boxes import primary_cicp
from fuseid.encoders.media_file import HEAD_BYTES, hash_bytes, image_format, unread_format, video_format
from fuseid.encoders.picture_colour import Colours, to_srgb
from fuseid.encoders.picture_samples import check_tiff, low_bytes, tiff_layout, to_full_range, to_resizable
from fuseid.encoders.png_chunks import split_png

_EXIF_ORIENTATION = 0x0112
_UNDO_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_THUMBNAIL_QUALITY = 80

# The part of an AVIF file that is searched for its size.
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class _Opened:
    """image: decoded, JPEG at a reduced size. size: (width, height) as stored, in full. png_depth: bits per sample of a
    PNG. is_narrow: black is 16 and white 235, as in video, of which PNGs can be made."""

    image: Image.Image
    size: tuple[int, int]
    colours: Colours
    png_depth: int = 8
    is_narrow: bool = False


def decode_image(file: BinaryIO, path: str, config: DecodeConfig) -> Decoded:
    """Decodes an open file; its first frame if it has several. `path` is only for messages.

    Raises Unrecognised (the bytes do not start like a picture that is decoded), CorruptMedia (they do, but cannot be
    decoded) and TooLarge (more than `max_pixels`, known from the header before any pixel is decoded).
    """
    head = file.read(HEAD_BYTES)
    name = image_format(head)
    if name is None:
        raise Unrecognised(f"{path!r} is not a picture in a known format{_what_instead(head)}")
    data = head + file.read()
    try:
        width, height, rgb = _to_bounded_rgb(_open(data, name, path, config), config.long_side)
    except Unrecognised as error:
        raise Unrecognised(f"{path!r} is not decoded: {error}") from None
    except (ItemError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{path!r}: {reason(error)}") from None
    except UnidentifiedImageError:
        layout = tiff_layout(data) if name == "TIFF" else ""
        raise CorruptMedia(
            f"{path!r} cannot be decoded as {name}: it is damaged, or its samples are of a kind that is not read"
            f"{f' ({layout})' if layout else ''}; if it opens elsewhere, convert it to 8 bits per sample"
        ) from None
    except Exception as error:
        # On hostile bytes Pillow's readers raise almost any exception type (struct.error, KeyError, SyntaxError...).
        raise CorruptMedia(f"{path!r} cannot be decoded as {name}: {reason(error)}") from None
    return Decoded(
        frames=np.asarray(rgb)[None],
        timestamps=np.zeros(1),
        width=width,
        height=height,
        duration=0.0,
        media_hash=hash_bytes(data),
        decoder="pillow",
        thumbnail=make_thumbnail(rgb, config.thumbnail_side),
    )


def make_thumbnail(rgb: Image.Image, side: int) -> bytes:
    """JPEG bytes, the long side at most `side` pixels. (WebP would be a third smaller but 20 times slower to make.)"""
    size = bounded_size(rgb.width, rgb.height, side)
    small = rgb if size == rgb.size else rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_THUMBNAIL_QUALITY)
    return buffer.getvalue()


def bounded_size(width: int, height: int, long_side: int) -> tuple[int, int]:
    """(width, height) with the long side at most `long_side`, aspect ratio kept, never enlarged, never 0."""
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _what_instead(head: bytes) -> str:
    if (other := unread_format(head)) is not None:
        return f" (it is {other}; convert it to JPEG or PNG)"
    return " (it is a video; set its kind to video)" if video_format(head) else ""


def _open(data: bytes, name: str, path: str, config: DecodeConfig) -> _Opened:
    png = split_png(data) if name == "PNG" else None
    _check_size(*_size_before_opening(data, name), path, config)
    if name == "JPEG XL":
        jxl = JxlPicture(data)
        _check_size(*jxl.size, path, config)
        return _Opened(jxl.decode(), jxl.size, jxl.cicp)
    source = io.BytesIO(png.data if png else data)
    image = open_heic(source) if name == "HEIC" else Image.open(source, formats=[name])
    width, height = image.size
    _check_size(width, height, path, config)
    if name == "TIFF":
        check_tiff(image)
    # The JPEG decoder can reduce by 2, 4 or 8 while decoding, which is fast but only a box filter: leave the last
    # reduction, by a factor of two or more, to the better filter below.
    if name == "JPEG":
        image.draft(image.mode, bounded_size(width, height, 2 * config.long_side))
    if png and png.depth == 16 and image.mode == "RGB" and "transparency" in image.info:
        image.info["fuseid_low_bytes"] = low_bytes(png.data)
    tiles = getattr(image, "tile", []) if name == "GIF" else []
    drawn = tiles[0].extents if tiles else None
    image.load()
    if drawn and drawn != (0, 0, width, height) and "transparency" not in image.info:
        image = on_background(image, drawn, data)
    if name == "HEIC" and image.size != (width, height):  # the coded picture differs from what its box says
        width, height = image.size
        _check_size(width, height, path, config)
    # `draft` changes `image.size`; the medium's size is that of its header.
    if png:
        return _Opened(
            image, (width, height), png.cicp or png.profile, png.depth, png.cicp is not None and not png.cicp[3]
        )
    named = primary_cicp(data) if name in ("AVIF", "HEIC") else None
    return _Opened(image, (width, height), image.info.get("icc_profile") or named)


def _check_size(width: int, height: int, path: str, config: DecodeConfig) -> None:
    if width * height > config.max_pixels:
        raise TooLarge(f"{path!r} is {width}x{height} pixels, the limit decode.max_pixels is {config.max_pixels}")


def _size_before_opening(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) from the header, for formats whose decoders allocate the canvas on opening; else (0, 0)."""
    if name == "WEBP" and data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if name == "WEBP" and data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == "AVIF":
        # Each item in the file has a box `ispe` with its size; the picture is the largest item.
        places = [match.end() + 4 for match in re.finditer(b"ispe", data[:_HEADER_BYTES])]
        sizes = [struct.unpack_from(">II", data, place) for place in places if place + 8 <= len(data)]
        return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return 0, 0


def _to_bounded_rgb(opened: _Opened, long_side: int) -> tuple[int, int, Image.Image]:
    """(width, height as shown, RGB picture reduced to `long_side`)."""
    width, height = opened.size
    orientation = _orientation(opened.image)
    picture = to_resizable(opened.image, opened.png_depth)
    size = bounded_size(width, height, long_side)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if opened.is_narrow:
        picture = to_full_range(picture)
    picture = _on_white(to_srgb(picture, opened.colours))
    # What belongs to the file, such as a comment or its profile, would be written into the thumbnail.
    picture.info = {}
    if orientation in _UNDO_ORIENTATION:
        picture = picture.transpose(_UNDO_ORIENTATION[orientation])
    if orientation >= 5:
        width, height = height, width
    return width, height, picture


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a picture with a broken EXIF block is still usable
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
