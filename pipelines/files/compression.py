"""Opens a file that may be compressed: gzip and zstd are recognised by their first bytes, whatever the name is."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.core.reasons import reason

# By the endings of names.
ENDINGS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
# Commands that write what they decompress to their output.
_SHOWS = {"gzip": "gzip -dc", "zstd": "zstd -dc"}
# Recognised, to be refused by name.
_OTHERS = {
    b"BZh": ("bzip2", "bzip2 -dc"), b"\xfd7zXZ\0": ("xz", "xz -dc"), b"\x04\x22\x4d\x18": ("lz4", "lz4 -dc"),
    b"PK\3\4": ("zip", "unzip -p"), b"\x1f\x9d": ("compress", "gzip -dc"),
}  # fmt: skip
_HEAD_BYTES = 8
_BUFFER_BYTES = 1 << 18
# Of a list of items no more than some tenfold is saved; a bomb is thousands of times larger than its file.
_FREE_BYTES, _MOST_RATIO = 1 << 30, 500


def codec_of(path: Path) -> str | None:
    """`gzip` or `zstd`; None for a file that is not compressed. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return next((codec for magic, codec in _MAGIC.items() if head.startswith(magic)), None)


def shown_by(path: Path, name: str) -> str:
    """A command that writes the file's decompressed bytes to its output, `name` being how the user knows the file."""
    codec = codec_of(path)
    return f"{'cat' if codec is None else _SHOWS[codec]} {shlex.quote(name)}"


@contextmanager
def decompressed(path: Path, shown: object, free_bytes: int = _FREE_BYTES) -> Iterator[BinaryIO]:
    """The bytes of a file, as a stream, decompressed if it is gzip or zstd, of any number of members.

    Raises OSError, and BadInput for a file in another compression. Reading raises BadInput for a file that is damaged
    or cut off, and for one that has more than `free_bytes` decompressed and is far larger than any list would be.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        for magic, (name, command) in _OTHERS.items():
            if head.startswith(magic):
                raise BadInput(
                    f"{shown} is compressed by {name}; gzip and zstd are read, so decompress it: "
                    f"{command} {shlex.quote(str(shown))} > NEW"
                )
        codec = codec_of(path)
        if codec is None:
            file.seek(0)
            yield cast(BinaryIO, file)
            return
    raw: Any = _Decompressed(path, codec, shown, free_bytes)
    with raw, io.BufferedReader(raw, _BUFFER_BYTES) as stream:
        yield stream


class _Decompressed(io.RawIOBase):
    def __init__(self, path: Path, codec: str, shown: object, free_bytes: int) -> None:
        self._codec, self._shown = codec, shown
        self._limit = max(free_bytes, _MOST_RATIO * os.stat(path).st_size)
        self._size = 0
        self._stream = pa.CompressedInputStream(pa.OSFile(str(path)), codec)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            problem = "ends too early" if "Truncated" in str(error) else f"is damaged ({reason(error)})"
            raise BadInput(f"{self._shown} {problem}: it is no complete {self._codec} file; copy it again") from None
        self._size += len(data)
        if self._size > self._limit:
            raise BadInput(
                f"{self._shown} has more than {self._limit} bytes decompressed, {_MOST_RATIO} times its size; if that "
                "is meant, decompress it first"
            )
        buffer[: len(data)] = data
        return len(data)
