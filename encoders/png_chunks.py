"""Removes from a PNG what its pixels do not need: texts and colour profiles may be large, or unpack to gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

# The longest colour profile that is used; printers' profiles have up to 4 MiB.
MOST_PROFILE_BYTES = 8 << 20
# The longest text that is read, unpacked or not, in which there may be an orientation.
_MOST_TEXT_BYTES = 1 << 20
_SIGNATURE_BYTES = 8
_END = b"\0\0\0\0IEND\xaeB`\x82"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
# Texts in which programs keep EXIF and XMP; PNG had no chunk for EXIF until 2017.
_WITH_ORIENTATION = frozenset({b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp"})


@dataclass(frozen=True, slots=True)
class PngPixels:
    """data: a PNG of the same pixels. profile: its ICC profile, unpacked. cicp: the four numbers of the chunk that
    names its colour space (primaries, transfer function, matrix, full range). depth: bits per sample."""

    data: bytes
    profile: bytes | None
    cicp: tuple[int, ...] | None
    depth: int


def split_png(data: bytes) -> PngPixels:
    """Leaves out texts, except those with an orientation, and the profile; and of an animation all but its first frame,
    if the picture before it is only for programs without animation. What is damaged stays for the decoder."""
    data = _first_frame(data)
    kept: list[bytes | memoryview] = [data[:_SIGNATURE_BYTES]]
    view = memoryview(data)
    profile, cicp, copied = None, None, _SIGNATURE_BYTES
    for name, start, end in _chunks(data):
        if name == b"iCCP":
            profile = _profile(view[start:end])
        elif name == b"cICP" and end - start == 4:
            cicp = tuple(view[start:end])
        if name == b"iCCP" or (name in _TEXTS and not _may_hold_orientation(name, view[start:end])):
            kept.append(view[copied : start - 8])
            copied = end + 4
    kept.append(view[copied:])
    return PngPixels(data if len(kept) == 2 else b"".join(kept), profile, cicp, data[24] if len(data) > 24 else 0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start and end of the body) of every whole chunk."""
    place = _SIGNATURE_BYTES
    while place + 12 <= len(data):
        start = place + 8
        end = start + int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : start]
        if end + 4 > len(data) or name == b"IEND":
            return
        yield name, start, end
        place = end + 4


def _first_frame(data: bytes) -> bytes:
    """The PNG, or the first frame of its animation if the picture that comes first is not part of that."""
    if b"fcTL" not in data:
        return data
    chunks = list(_chunks(data))
    names = [name for name, _, _ in chunks]
    if not {b"acTL", b"fcTL", b"IDAT"} <= set(names) or names.index(b"fcTL") < names.index(b"IDAT"):
        return data
    first = names.index(b"fcTL")
    start = chunks[first][1]
    # The first frame is as large as the picture.
    if data[start + 4 : start + 20] != data[16:24] + bytes(8):
        return data
    parts, frames = [data[:_SIGNATURE_BYTES]], 0
    for name, start, end in chunks:
        frames += name == b"fcTL"
        if name == b"fdAT" and frames == 1:
            body = b"IDAT" + data[start + 4 : end]
            parts += [(len(body) - 4).to_bytes(4, "big"), body, zlib.crc32(body).to_bytes(4, "big")]
        elif name not in (b"acTL", b"fcTL", b"IDAT", b"fdAT"):
            parts.append(data[start - 8 : end + 4])
    return b"".join([*parts, _END])


def _profile(body: memoryview) -> bytes | None:
    end = bytes(body[:80]).find(b"\0")
    return (_unpacked(body[end + 2 :], MOST_PROFILE_BYTES) or None) if end >= 0 else None


def _may_hold_orientation(name: bytes, body: memoryview) -> bool:
    keyword, _, rest = bytes(body[:100]).partition(b"\0")
    if keyword not in _WITH_ORIENTATION or len(body) > _MOST_TEXT_BYTES:
        return False
    if name == b"zTXt":
        return _unpacked(body[len(keyword) + 2 :], _MOST_TEXT_BYTES) is not None
    return name == b"tEXt" or rest[:1] == b"\0"  # an iTXt that is not packed


def _unpacked(packed: memoryview, most: int) -> bytes | None:
    """None for what is damaged or longer than `most` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, most)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail else unpacked
