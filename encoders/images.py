"""Still pictures to RGB arrays, with Pillow: uniform orientation, colour mode and bit depth, limited size."""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, ItemError, TooLarge, Unrecognised
from fuseid.core.reasons import reason
from fuseid.core.records import Decoded
from fuseid.encoders.media_file import HEAD_BYTES, hash_bytes, image_format, video_format

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

# The beginnings of Pillow's messages for a PNG whose texts or colour profile decompress to more than it allows.
_UNPACKS_TOO_FAR = ("Decompressed data too large", "Too much memory used in text chunks")


def decode_image(file: BinaryIO, path: str, config: DecodeConfig) -> Decoded:
    """Decodes an open file; its first frame if it has several. `path` is only for messages.

    Raises Unrecognised (the bytes do not start like a picture), CorruptMedia (they do, but cannot be decoded) and
    TooLarge (more than `max_pixels`, known from the header before any pixel is decoded).
    """
    head = file.read(HEAD_BYTES)
    name = image_format(head)
    if name is None or name == "HEIC":
        raise Unrecognised(f"{path!r} is not a picture in a known format{_what_instead(head, name)}")
    data = head + file.read()
    try:
        image = _open(data, name, path, config)
        width, height, rgb = _to_bounded_rgb(image, config.long_side)
    except (ItemError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"{path!r}: {reason(error)}") from None
    except Exception as error:
        if str(error).startswith(_UNPACKS_TOO_FAR):
            raise TooLarge(f"{path!r} decompresses to more than is allowed: {reason(error)}") from None
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


def _what_instead(head: bytes, name: str | None) -> str:
    if name == "HEIC":
        return " (it is HEIC; convert it to JPEG or AVIF)"
    return " (it is a video; set its kind to video)" if video_format(head) else ""


def _open(data: bytes, name: str, path: str, config: DecodeConfig) -> Image.Image:
    _check_size(*_size_before_opening(data, name), path, config)
    image = Image.open(io.BytesIO(data), formats=[name])
    width, height = image.size
    _check_size(width, height, path, config)
    # The JPEG decoder can reduce by 2, 4 or 8 while decoding, which is fast but only a box filter: leave the last
    # reduction, by a factor of two or more, to the better filter below.
    if name == "JPEG":
        image.draft(image.mode, bounded_size(width, height, 2 * config.long_side))
    image.load()
    # `draft` changes `image.size`; the medium's size is that of its header.
    image.info["fuseid_size"] = (width, height)
    return image


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


def _to_bounded_rgb(image: Image.Image, long_side: int) -> tuple[int, int, Image.Image]:
    """(width, height as shown, RGB picture reduced to `long_side`)."""
    width, height = image.info["fuseid_size"]
    orientation = _orientation(image)
    picture = _to_resizable(image)
    size = bounded_size(width, height, long_side)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    picture = _on_white(picture)
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


def _to_resizable(image: Image.Image) -> Image.Image:
    """Converts to RGB, RGBA or L, in which resizing works; it does not in palette, 1-bit and integer modes."""
    if image.mode in ("RGB", "L", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    if image.mode[0] in "IF":
        return Image.fromarray(_to_8_bit(np.asarray(image)))
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert picture is not None  # only with inPlace=True
        return picture
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBa"):
        return image.convert("RGBA")
    return image.convert("RGB")


def _to_8_bit(samples: np.ndarray) -> np.ndarray:
    """Scales (never clips) 16-bit, 32-bit or float samples [H, W] to uint8; the scale depends on type and range."""
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        top = 1.0 if samples.max() <= 1.0 else 255.0
    else:
        top = 65535.0
    # In Pillow's 32-bit mode, some old writers store 8 and some 32 significant bits; only there the range decides.
    if samples.dtype.itemsize == 4:
        top = max(top, float(samples.max()))
    return np.clip(samples.astype(np.float32) * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
