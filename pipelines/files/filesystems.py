"""The remote file systems of fsspec, opened when first needed, and their errors as fuseid's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, BinaryIO

import aiohttp
import pyarrow as pa
from fsspec.asyn import get_loop, sync

from fuseid.core.config import SourceConfig
from fuseid.core.errors import FetchFailed, FuseidError, ItemError, MissingFile, MissingPackage, NotAllowed
from fuseid.core.extras import importing_file_system
from fuseid.core.reasons import reason
from fuseid.pipelines.files.access import UNVERSIONED
from fuseid.pipelines.files.guarded_http import AddressRefused, GuardedHTTP
from fuseid.pipelines.files.remote_uri import RemoteUri

# Bytes read ahead while the headers of a shard are read: small pictures are streamed past, a video's bytes are skipped.
_READ_AHEAD_BYTES = 1 << 20
_CLOSE_SECONDS = 5.0


class Remote:
    """File systems by scheme. Credentials come from the environment, as s3fs and gcsfs find them. Safe to use from
    several threads; `close` ends all connections."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._open: dict[str, Any] = {}
        self._http: Any = None
        self._lock = threading.Lock()
        self.loop = get_loop()  # fsspec's own, in a thread of its own
        # A whole file has no time limit as long as data arrives; all other requests are small.
        seconds = config.timeout_seconds
        self.whole_file_timeout = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """May be called more than once."""
        systems, self._open, self._http = self._open, {}, None
        for system in systems.values():
            # s3fs holds its connections in another attribute than http and gcsfs.
            client = getattr(system, "_s3creator", None)
            session = getattr(system, "_session", None)
            if client is not None:
                sync(self.loop, client.__aexit__, None, None, None, timeout=_CLOSE_SECONDS)
            elif session is not None:
                sync(self.loop, session.close, timeout=_CLOSE_SECONDS)

    def system(self, uri: RemoteUri) -> Any:
        """The fsspec file system that opens `uri`. Not to be called in fsspec's own thread: the first call looks for
        credentials, which may take a while. Raises MissingPackage if no package for it is installed."""
        scheme = "http" if uri.is_http else uri.scheme
        with self._lock:
            if scheme not in self._open:
                make = {"http": self._make_http, "s3": self._make_s3, "gs": self._make_gs}[scheme]
                with importing_file_system(scheme):
                    self._open[scheme] = make()
            return self._open[scheme]

    @contextmanager
    def requesting(self, uri: RemoteUri) -> Iterator[tuple[Any, str]]:
        """-> (file system, path in it). Inside the block http may request `uri` itself, besides allowed prefixes."""
        system, path = self.system(uri), _path(uri)
        if not uri.is_http:
            yield system, path
            return
        self._http.requested[uri] += 1
        try:
            yield system, path
        finally:
            self._http.requested[uri] -= 1

    @contextmanager
    def open(self, uri: RemoteUri) -> Iterator[BinaryIO]:
        """A file to read and seek in, not held in memory. Raises ItemError if it cannot be read; what a reader finds
        wrong with its content stays as it is."""
        try:
            with (
                self.requesting(uri) as (system, path),
                system.open(path, block_size=_READ_AHEAD_BYTES, cache_type="readahead") as file,
            ):
                yield file
        except (FuseidError, pa.ArrowException):
            raise
        except Exception as error:
            raise item_error(error, uri) from None

    def info(self, uri: RemoteUri) -> dict[str, Any]:
        """What the server says about a file, as fsspec's dictionary. Raises ItemError if it cannot be reached."""
        try:
            with self.requesting(uri) as (system, path):
                return system.info(path)
        except Exception as error:
            raise item_error(error, uri) from None

    def entries(self, folder: RemoteUri) -> list[tuple[str, bool]]:
        """The names of the files and folders in a folder of s3 or gs, and whether each is a folder. Raises ItemError if
        it cannot be read."""
        try:
            with self.requesting(folder) as (system, path):
                listed = system.ls(path.rstrip("/"), detail=True)
        except Exception as error:
            raise item_error(error, folder) from None
        named = [(entry["name"].rstrip("/"), entry["type"] == "directory") for entry in listed]
        # An object with the name of the folder itself marks it, for programs that show folders.
        return sorted((name.rpartition("/")[2], is_folder) for name, is_folder in named if name != path.rstrip("/"))

    def _make_http(self) -> Any:
        self._http = GuardedHTTP(self._config)
        return self._http.filesystem

    def _make_s3(self) -> Any:
        from aiobotocore.session import AioSession
        from s3fs import S3FileSystem

        seconds = self._config.timeout_seconds
        limits = {"connect_timeout": seconds, "read_timeout": seconds, "max_pool_connections": 64}
        session = AioSession()
        session.register_component("data_loader", _requests_of_s3())
        return S3FileSystem(config_kwargs=limits, session=session, use_listings_cache=False, skip_instance_cache=True)

    def _make_gs(self) -> Any:
        # fuseid only reads, which needs none of gcsfs's experimental features.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        from gcsfs import GCSFileSystem

        return GCSFileSystem(use_listings_cache=False, skip_instance_cache=True)


@cache
def _requests_of_s3() -> Any:
    """The descriptions of all requests, which a session otherwise reads for itself: measured, 80 of the 86 ms that
    opening S3 takes."""
    from aiobotocore.session import AioSession

    return AioSession().get_component("data_loader")


def _path(uri: RemoteUri) -> str:
    return str(uri) if uri.is_http else f"{uri.authority}{uri.path}"


def stat_of_info(info: dict[str, Any]) -> str:
    """A text that changes when a remote file does: its ETag, else its size and Last-Modified. If the server sends
    neither, it is UNVERSIONED and the size, and only the bytes show whether the file has changed."""
    tag = info.get("ETag") or info.get("etag")
    if tag:
        return str(tag)
    size, changed = info.get("size"), info.get("Last-Modified")
    shown = "" if size is None else str(size)
    return f"{shown}:{changed}" if changed else f"{UNVERSIONED}{shown}"


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a moment later."""
    error = _cause(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in (408, 425, 429) or error.status >= 500
    if isinstance(getattr(error, "os_error", None), AddressRefused):
        return False
    return isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | ConnectionError)


def item_error(error: Exception, uri: RemoteUri) -> ItemError:
    """The ItemError for whatever fsspec and the libraries below it raise. A MissingPackage ends the command: no
    item could be fetched."""
    if isinstance(error, MissingPackage):
        raise error
    error = _cause(error)
    if isinstance(error, ItemError):
        return error
    status = error.status if isinstance(error, aiohttp.ClientResponseError) else vars(error).get("code")  # of gcsfs
    if isinstance(getattr(error, "os_error", None), AddressRefused):
        return NotAllowed(
            f"'{uri}' is not opened: the address of {uri.authority} is private or reserved; "
            "if that is meant, set source.private_hosts to true"
        )
    if isinstance(error, PermissionError) or status in (401, 403):
        refused = NotAllowed(f"'{uri}': the server refuses to show it ({status or error})")
        refused.may_pass = True
        return refused
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return MissingFile(f"no such file: '{uri}'")
    if isinstance(error, TimeoutError):
        return FetchFailed(f"'{uri}' took longer than source.timeout_seconds")
    if isinstance(error, aiohttp.ClientResponseError):
        return FetchFailed(f"'{uri}': the server answers {error.status} {error.message}")
    return FetchFailed(f"'{uri}': {reason(error)}")


def _cause(error: Exception) -> Exception:
    """What is behind an error: fsspec's http raises FileNotFoundError for every failed look at a file, with the real
    error as its cause."""
    cause = error.__cause__
    known = isinstance(cause, aiohttp.ClientError | OSError | ItemError)
    return cause if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) and known else error
