"""Decompresses what a web server compressed although it was asked not to, in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

CODINGS = ("gzip", "x-gzip", "deflate")
_PIECE_BYTES = 1 << 18


class Inflater:
    """One body of a Content-Encoding in CODINGS; of gzip also several members, one after the other."""

    def __init__(self, coding: str) -> None:
        self._is_gzip = coding != "deflate"
        self._inner = zlib.decompressobj(31) if self._is_gzip else None
        self._head = b""

    @property
    def is_complete(self) -> bool:
        return self._inner is not None and self._inner.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The decompressed bytes of a chunk of the body. Raises zlib.error if it is damaged."""
        if self._inner is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            # RFC 9110 means zlib's format (RFC 1950); some servers send the stream inside it (RFC 1951).
            is_wrapped = data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inner = zlib.decompressobj(15 if is_wrapped else -15)
        pending = False
        while data or pending:
            if self._inner.eof:
                if not self._is_gzip:
                    raise zlib.error("bytes follow the end of the compressed data")
                self._inner = zlib.decompressobj(31)
            piece = self._inner.decompress(data, _PIECE_BYTES)
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            # A piece of full size may leave output inside the decompressor, without any input left.
            pending = not self._inner.eof and len(piece) == _PIECE_BYTES
            if piece:
                yield piece
