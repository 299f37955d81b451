"""What the hostile corpus is built from: its entries, small good media, and the pieces of their formats."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

# Stands in files that refer to elsewhere.
ADDRESS = b"http://127.0.0.1:65535"


@dataclass(frozen=True)
class Hostile:
    """One file: its name below the folder, what it is, and the outcomes that its format justifies.

    expected: `accepted`, or names of error classes; more than one where the machine's memory or speed decides.
    make: its bytes, or a function that makes it at a path.
    """

    name: str
    what: str
    expected: Sequence[str]
    make: bytes | Callable[[Path], object]

    def write(self, folder: Path) -> None:
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(self.make):
            self.make(path)
        else:
            path.write_bytes(self.make)


def entry(name: str, what: str, expected: str, make: bytes | Callable[[Path], object]) -> Hostile:
    """`expected` holds one outcome, or several parted by `|`."""
    return Hostile(name, what, tuple(expected.split("|")), make)


# Pictures


def picture(width: int = 64, height: int = 48) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 5 % 256, columns * 3 % 256, (rows + columns) * 2 % 256], -1)
    return Image.fromarray(pixels.astype(np.uint8))


def saved(format: str, image: Image.Image | None = None, **how: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, format, **how)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """Of a PNG: length, name, body and their check sum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int = 8, height: int = 8, *, depth: int = 8, colour: int = 2, interlace: int = 0,
        extra: bytes = b"", data: bytes | None = None) -> bytes:  # fmt: skip
    """extra: chunks before the pixels. data: of IDAT, by default of black pixels."""
    if data is None:
        data = zlib.compress((b"\0" * (1 + 3 * width)) * height)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def segment(marker: int, body: bytes) -> bytes:
    """Of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def tiff(entries: Sequence[tuple[int, int, int, int]], *, after: int = 0, tail: bytes = b"") -> bytes:
    """Little-endian; entries of (tag, type, count, value or offset), then the next directory's offset, then `tail`."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", after) + tail


def riff(kind: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + kind + body


# Films


def box(name: bytes, *parts: bytes) -> bytes:
    """Of an MP4."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def film(
    container: str,
    codec: str = "mpeg4",
    *,
    times: Sequence[int] = range(8),
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    then: Callable[[av.container.OutputContainer], object] | None = None,
) -> bytes:
    """A good film with frames at `times`, eighths of a second, a key frame every fourth.

    then: called before the first frame.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=8, width=size[0], height=size[1], pix_fmt=pixels)
        stream.gop_size, stream.codec_context.thread_count = 4, 1
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "sc_threshold": "0"}
        if then is not None:
            then(output)
        for number in times:
            frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), 30 * number % 256, np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def patched(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """`data` with `value` written `offset` bytes after the end of the first `name`; the length stays."""
    place = data.index(name) + len(name) + offset
    return data[:place] + value + data[place + len(value) :]


def ebml(identifier: bytes, body: bytes, size: bytes | None = None) -> bytes:
    """Of a Matroska; `size` to lie about it."""
    return identifier + (size or (1 << 56 | len(body)).to_bytes(8, "big")) + body


EBML_HEAD = ebml(b"\x1a\x45\xdf\xa3", ebml(b"\x42\x82", b"matroska"))
