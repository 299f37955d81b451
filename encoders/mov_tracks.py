"""Which tracks of an ISO-BMFF file are a film, and which accompany one: depth, alpha, stills (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

# More boxes than any level of a film's header has.
_MOST_BOXES = 10_000


def film_tracks(file: BinaryIO) -> frozenset[int]:
    """The numbers of the tracks whose handler is that of films, `vide`; FFmpeg takes every track with pictures for one,
    also `auxv` and `pict`. The position in the file stays."""
    position = file.tell()
    try:
        end = file.seek(0, 2)
        return frozenset(
            number
            for moov, after in _boxes(file, 0, end, b"moov")
            for number, handler in _handlers(file, moov, after)
            if handler == b"vide"
        )
    finally:
        file.seek(position)


def _handlers(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(track number, handler) of each track within `moov`."""
    for trak, after in _boxes(file, start, end, b"trak"):
        number = handler = None
        for place, _ in _boxes(file, trak, after, b"tkhd"):
            file.seek(place)
            version = file.read(1)
            file.seek(place + (20 if version == b"\1" else 12))
            number = int.from_bytes(file.read(4), "big")
        for mdia, inner in _boxes(file, trak, after, b"mdia"):
            for place, _ in _boxes(file, mdia, inner, b"hdlr"):
                file.seek(place + 8)
                handler = file.read(4)
        if number is not None and handler is not None:
            yield number, handler


def _boxes(file: BinaryIO, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the body of each box of that name."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        file.seek(start)
        head = file.read(16)
        length, name = struct.unpack_from(">I4s", head)
        body = start + 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack_from(">Q", head, 8)
            body = start + 16
        after = min(end, start + length) if length else end
        if after < body:
            return
        if name == wanted:
            yield body, after
        start = after
