"""fsspec's http, extended by what fuseid needs of a web server: one request to look at a file, and one to copy it."""

from __future__ import annotations

import zlib
from typing import Any, Protocol

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from fuseid.core.errors import FetchFailed
from fuseid.core.reasons import reason
from fuseid.pipelines.files.inflate import CODINGS, Inflater

_CHUNK_BYTES = 1 << 18


class Sink(Protocol):
    def check(self, size: int) -> None:
        """Raises TooLarge for more bytes than are allowed."""

    def write(self, data: bytes) -> int:
        """Raises TooLarge beyond the number of bytes that are allowed."""


class WebFiles(HTTPFileSystem):
    """A file system of fsspec. Facts about a file are in a dictionary, as from its `info`."""

    async def look(self, url: str, by_get: bool) -> dict[str, Any] | None:
        """What the server says about a file, by one HEAD; None if it refuses that, or by_get: what it says in answer to
        a GET, whose body is not read."""
        session = await self.set_session()
        try:
            async with session.head(self.encode_url(url), allow_redirects=True, **self.kwargs) as response:
                return _facts(response)
        except aiohttp.ClientResponseError as error:
            if not _is_refusal(error.status):
                raise
        if not by_get:
            return None
        async with session.get(self.encode_url(url), **self.kwargs) as response:
            return _facts(response)

    async def copy(self, url: str, sink: Sink, timeout: aiohttp.ClientTimeout) -> dict[str, Any]:
        """Writes a whole file into `sink`, decompressed if the server compressed it, and returns facts about it."""
        session = await self.set_session()
        async with session.get(self.encode_url(url), timeout=timeout, **self.kwargs) as response:
            coding = content_coding(response)
            facts = _facts(response)
            if coding is None:
                sink.check(facts["size"] or 0)
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    sink.write(chunk)
                return facts
            inflater = Inflater(coding)
            try:
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    for piece in inflater.pieces(chunk):
                        sink.write(piece)
            except zlib.error as error:
                raise FetchFailed(f"'{url}' arrived compressed ({coding}) and is damaged: {reason(error)}") from None
            if not inflater.is_complete:
                raise FetchFailed(f"'{url}' arrived compressed ({coding}) and ends too early")
            return facts


def content_coding(response: aiohttp.ClientResponse) -> str | None:
    """How the body is compressed; None if it is not."""
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    return None if coding in ("", "identity") else coding


def can_decode(coding: str | None) -> bool:
    return coding is None or coding in CODINGS


def _is_refusal(status: int) -> bool:
    """Whether a server that answers HEAD so may still serve the file: it does not know HEAD, or an address was signed
    for GET alone."""
    return status in (400, 403, 405, 501)


def _facts(response: aiohttp.ClientResponse) -> dict[str, Any]:
    size = response.content_length if content_coding(response) is None else None
    tags = {name: response.headers.get(name) for name in ("ETag", "Last-Modified")}
    return {"type": "file", "size": size, **tags}
