"""Opens a local media file safely, recognises its format by its bytes, and hashes it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fuseid.core.errors import CorruptMedia, MissingFile, TooLarge
from fuseid.core.reasons import reason

# Bytes read to recognise a format: four transport-stream packets of the longest kind, more than any signature needs.
HEAD_BYTES = 1024

# ISO-BMFF brands of still pictures; every other file that starts with `ftyp` is a video.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_STILL_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", **dict.fromkeys(_HEIC_BRANDS, "HEIC")}
# Many texts start with "BM"; in a bitmap, a second header follows, and its length is one of these.
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_CANON_RAW = b"crx "
# What files in other formats begin with, to name them in messages.
_UNREAD = {
    b"8BPS": "a Photoshop document (PSD)", b"%PDF-": "a PDF document", b"%!PS": "PostScript",
    b"\0\0\0\x0cjP  ": "JPEG 2000", b"\xff\x4f\xff\x51": "JPEG 2000", b"II\xbc": "JPEG XR",
    b"\0\0\1\0": "an icon (ICO)", b"DDS ": "DDS",
    b"qoif": "QOI", b"\x76\x2f\x31\x01": "OpenEXR", b"#?RADIANCE": "Radiance HDR", b"gimp xcf": "a GIMP document (XCF)",
    b"FUJIFILMCCD-RAW": "a camera's raw file (RAF)", b"IIRO": "a camera's raw file (ORF)",
    b"IIRS": "a camera's raw file (ORF)", b"MMOR": "a camera's raw file (ORF)", b"IIU\0": "a camera's raw file (RW2)",
    b"FOVb": "a camera's raw file (X3F)", b"PK\3\4": "a ZIP archive",
}  # fmt: skip
_PORTABLE_MAPS = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7")
_QUICKTIME_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


@contextmanager
def open_media(path: str, max_bytes: int) -> Iterator[BinaryIO]:
    """Opens a regular file for reading, positioned at 0.

    Raises MissingFile (nothing there, not readable, or not a regular file: a FIFO or a device could block or never
    end), CorruptMedia (no bytes) and TooLarge (more than `max_bytes`).
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise MissingFile(f"cannot open {path!r}: {reason(error)}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        what = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise MissingFile(f"{path!r} is {what}")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size == 0:
            raise CorruptMedia(f"{path!r} is empty (0 bytes)")
        if status.st_size > max_bytes:
            raise TooLarge(f"{path!r} has {status.st_size} bytes, the limit decode.max_bytes is {max_bytes}")
        yield file


def hash_file(file: BinaryIO) -> str:
    """Hex BLAKE2b-128 of all bytes, streamed; leaves the file at 0. Equals `hash_bytes` of the same bytes."""
    file.seek(0)
    digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))  # type: ignore[arg-type, return-value]
    file.seek(0)
    return digest.hexdigest()


def hash_bytes(data: bytes) -> str:
    """Hex BLAKE2b-128."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def image_format(head: bytes) -> str | None:
    """The picture format that `head` starts like, or None: Pillow's name, or HEIC or JPEG XL, which extras decode."""
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None if head[8:10] == b"CR" else "TIFF"
    if head[:2] == b"BM" and len(head) > 17 and head[15:18] == b"\0\0\0" and head[14] in _BMP_HEADER_SIZES:
        return "BMP"
    if head[:2] == b"\xff\x0a" or head[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        return "JPEG XL"
    if head[4:8] == b"ftyp":
        # The major brand says only that it is a still picture; the compatible brands say how it is coded.
        compatible = head[16 : int.from_bytes(head[:4], "big")]
        if head[8:12] in (b"mif1", b"msf1") and b"avif" in (
            compatible[i : i + 4] for i in range(0, len(compatible), 4)
        ):
            return "AVIF"
        return _STILL_BRANDS.get(head[8:12])
    return None


def unread_format(head: bytes) -> str | None:
    """What a file is that is no picture or video for fuseid, for a message; None if that is not known."""
    for start, name in _UNREAD.items():
        if head.startswith(start):
            return name
    if head[4:12] == b"ftyp" + _CANON_RAW or (head[:4] == b"II*\0" and head[8:10] == b"CR"):
        return "a camera's raw file (CR2, CR3)"
    if head[:2] in _PORTABLE_MAPS and head[2:3].isspace():
        return "a portable map (PBM, PGM, PPM)"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps an answer of a server that has no such picture"
    if b"<svg" in text and text.startswith((b"<svg", b"<?xml", b"<!doctype svg", b"<!--")):
        return "a drawing (SVG)"
    return None


def video_format(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for the container that `head` starts like, or None.

    Only containers that hold their own data are recognised. Playlists (HLS, DASH, ffconcat, SDP) list other files and
    addresses to open, so they are never passed to FFmpeg, whatever the file name is.
    """
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _STILL_BRANDS or head[8:12] == _CANON_RAW else "mov"
    if head[4:8] in _QUICKTIME_BOXES:
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\0\0\x01\xba":
        return "mpeg"
    if head[:4] == b"FLV\x01":
        return "flv"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11":
        return "asf"
    # Transport streams have no signature, only a sync byte per packet; M2TS puts a 4-byte time before each packet.
    for first, step in ((0, 188), (4, 192)):
        places = range(first, min(len(head), first + 4 * step), step)
        if len(places) >= 3 and all(head[place] == 0x47 for place in places):
            return "mpegts"
    return None
