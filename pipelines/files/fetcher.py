"""Fetches media from tar shards and remote uris into temporary local files of bounded size."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec.asyn import get_loop, sync

from fuseid.core.ahead import map_ahead
from fuseid.core.config import SourceConfig
from fuseid.core.errors import FetchFailed, ItemError, MissingFile, MissingPackage, TooLarge
from fuseid.encoders.media_file import open_media
from fuseid.pipelines.files.access import UNSEEN, Location, size_of, stat_of
from fuseid.pipelines.files.remote_uri import RemoteUri
from fuseid.pipelines.files.tar import BLOCK, check_header

if TYPE_CHECKING:
    from fuseid.pipelines.files.filesystems import Remote

# Bytes per request to an object store, which are in memory at a time; bytes per chunk of a local shard.
_RANGE_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 18
# Seconds before each further try of an http request; s3fs and gcsfs retry by themselves.
_PAUSES = (0.2, 1.0)
_STAT_SECONDS = 10.0
# After so many failures in a row a host is not asked for a while, so that it does not delay the items of other hosts.
_FAILURES_IN_A_ROW = 6
_REST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to decode; `release` deletes it if it is a copy. stat: see `Fetcher.stats`; None if unknown."""

    path: str
    is_copy: bool
    stat: str | None = None

    def release(self) -> None:
        if self.is_copy:
            Path(self.path).unlink(missing_ok=True)


class FileStat(NamedTuple):
    """What is known about a file that was not opened. text: changes when the file does; None if it cannot be reached
    now. size: in bytes, of a member its own; None if nothing says it."""

    text: str | None
    size: int | None = None


_UNREACHED = FileStat(None)


class Fetcher:
    """Fetches media. Safe to use from several threads; starts a thread for connections when first needed.

    max_bytes: the size of the largest medium that is fetched. Copies are kept in a private folder under TMPDIR.
    """

    def __init__(self, config: SourceConfig, max_bytes: int) -> None:
        self._config = config
        self._max_bytes = max_bytes
        self._remote: Remote | None = None
        self._lock = threading.Lock()
        self._slots = asyncio.Semaphore(config.concurrency)
        self._failures: dict[str, tuple[int, float]] = {}  # by host: how many in a row, and when the last

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections. May be called more than once."""
        with self._lock:
            remote, self._remote = self._remote, None
        if remote is not None:
            remote.close()

    @contextmanager
    def files(self, locations: Sequence[str]) -> Iterator[Iterator[LocalFile | ItemError]]:
        """locations: the text of a `Location` each -> their files in the same order, with an ItemError for a file that
        cannot be fetched.

        Fetches up to `source.concurrency` files ahead of the reader. All copies are deleted when the block ends.
        """
        parsed = [Location.parse(location) for location in locations]
        if all(location.is_plain for location in parsed):
            yield (LocalFile(location, is_copy=False) for location in locations)
            return
        with tempfile.TemporaryDirectory(prefix="fuseid-media-", ignore_cleanup_errors=True) as folder:
            work = ((location, f"{folder}/{number}") for number, location in enumerate(parsed))
            with closing(map_ahead(lambda one: self._begin(*one), work, self._config.concurrency - 1)) as files:
                yield files

    def stats(self, locations: Sequence[Location], by_get: bool = False) -> list[FileStat]:
        """For each location a text that changes when its file changes (if it begins with UNVERSIONED, only when the
        size does), and the size. Asks once for each file.

        UNSEEN for a whole file whose web server refuses HEAD; by_get: it is asked by GET then, and the body not read.
        """
        shards = {location.file for location in locations if location.member}
        looks: dict[str | RemoteUri, Future[FileStat] | FileStat] = {}
        for file in {location.file for location in locations}:
            if isinstance(file, str):
                text = stat_of(file)
                looks[file] = FileStat(text, None if text is None else size_of(text))
            else:
                try:
                    looks[file] = self._run(self._look(self._opened(file), file, by_get or file in shards))
                except MissingPackage:
                    raise
                except Exception:  # for example without credentials; a new item reports it when it is fetched
                    looks[file] = _UNREACHED
        found = []
        for location in locations:
            look = looks[location.file]
            stat = look.result() if isinstance(look, Future) else look
            if stat.text is not None and location.member is not None:
                _, offset, size = location.member
                stat = FileStat(f"{stat.text}+{offset}+{size}", size)
            found.append(stat)
        return found

    def download(self, uri: RemoteUri, target: Path) -> None:
        """Copies a file that the user named, whatever its size and however long it takes. Raises ItemError, also if
        the file changes meanwhile."""
        from fuseid.pipelines.files.filesystems import stat_of_info

        try:
            remote = self._opened(uri)
            before = None if uri.is_http else remote.info(uri)  # over http the whole file is one response
            with _Sink(target, sys.maxsize, str(uri)) as sink:
                sync(get_loop(), self._copy, remote, Location(uri), sink)
            if before is not None and stat_of_info(before) != stat_of_info(remote.info(uri)):
                raise FetchFailed(f"'{uri}' was written to while it was read; run again when it is complete")
        except Exception as error:
            raise self._item_error(error, uri) from None

    def _begin(self, location: Location, target: str) -> Future[LocalFile | ItemError]:
        if location.is_plain:
            return _known(LocalFile(str(location), is_copy=False))
        if location.member is not None and location.member[1] < BLOCK:
            return _known(MissingFile(f"no member lies at '{location}'"))
        if location.member is not None and location.member[2] > self._max_bytes:
            return _known(_too_large(str(location), self._max_bytes))
        if isinstance(location.file, str):
            return self._run(_member_to(location, target))
        try:
            return self._run(self._fetch(self._opened(location.file), location, location.file, target))
        except Exception as error:
            return _known(self._item_error(error, location.file))

    def _opened(self, uri: RemoteUri) -> Remote:
        from fuseid.pipelines.files.filesystems import Remote

        with self._lock:
            self._remote = remote = self._remote or Remote(self._config)
        remote.system(uri)
        return remote

    def _run(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, get_loop())

    async def _fetch(self, remote: Remote, location: Location, uri: RemoteUri, target: str) -> LocalFile | ItemError:
        try:
            async with self._slots:
                if self._is_resting(uri):
                    return FetchFailed(f"'{uri}' was not asked for: {uri.authority} failed too often in a row")
                async with asyncio.timeout(self._config.timeout_seconds):
                    with _Sink(target, self._max_bytes, str(location)) as sink:
                        stat = await self._copy(remote, location, sink)
        except Exception as error:
            Path(target).unlink(missing_ok=True)
            return self._recorded(uri, error)
        self._failures.pop(uri.authority, None)
        return LocalFile(target, is_copy=True, stat=stat)

    async def _look(self, remote: Remote, uri: RemoteUri, by_get: bool) -> FileStat:
        from fuseid.pipelines.files.filesystems import stat_of_info

        try:
            async with self._slots:
                if self._is_resting(uri):
                    return _UNREACHED
                async with asyncio.timeout(min(_STAT_SECONDS, self._config.timeout_seconds)):
                    with remote.requesting(uri) as (system, path):
                        info = await (system.look(path, by_get) if uri.is_http else system._info(path))
        except Exception as error:
            self._recorded(uri, error)
            return _UNREACHED
        self._failures.pop(uri.authority, None)
        if info is None:
            return FileStat(UNSEEN)
        return FileStat(stat_of_info(info), info.get("size")) if info["type"] == "file" else _UNREACHED

    async def _copy(self, remote: Remote, location: Location, sink: _Sink) -> str | None:
        """-> the stat of a whole file from the web."""
        from fuseid.pipelines.files.filesystems import is_transient, stat_of_info

        assert isinstance(location.file, RemoteUri)
        for pause in (*_PAUSES, None):
            sink.begin()
            try:
                with remote.requesting(location.file) as (system, path):
                    if location.member is not None:
                        _, offset, size = location.member
                        await _ranges(system, path, sink, offset - BLOCK, offset + size, location)
                    elif location.file.is_http:
                        return stat_of_info(await system.copy(path, sink, remote.whole_file_timeout))
                    else:
                        info = await system._info(path)
                        if info["type"] != "file":
                            raise MissingFile(f"'{location.file}' is a folder")
                        sink.check(info["size"])
                        await _ranges(system, path, sink, 0, info["size"], location)
                return None
            except Exception as error:
                if pause is None or not is_transient(error):
                    raise
                await asyncio.sleep(pause)
        return None

    def _is_resting(self, uri: RemoteUri) -> bool:
        count, last = self._failures.get(uri.authority, (0, 0.0))
        return count >= _FAILURES_IN_A_ROW and time.monotonic() < last + _REST_SECONDS

    def _recorded(self, uri: RemoteUri, error: Exception) -> ItemError:
        item_error = self._item_error(error, uri)
        if isinstance(item_error, FetchFailed):
            count, _ = self._failures.get(uri.authority, (0, 0.0))
            self._failures[uri.authority] = (count + 1, time.monotonic())
        return item_error

    def _item_error(self, error: Exception, uri: RemoteUri) -> ItemError:
        from fuseid.pipelines.files.filesystems import item_error

        return item_error(error, uri)


class _Sink(io.FileIO):
    """A new file of at most `limit` bytes; a longer write raises TooLarge."""

    def __init__(self, path: str | Path, limit: int, shown: str) -> None:
        super().__init__(path, "x+")
        self._limit, self._shown = limit, shown

    def begin(self) -> None:
        self.seek(0)
        self.truncate()

    def check(self, size: int) -> None:
        if size > self._limit:
            raise _too_large(self._shown, self._limit)

    def write(self, data: Any) -> int:
        self.check(self.tell() + len(data))
        view = memoryview(data)
        while view:
            view = view[super().write(view) :]
        return len(data)


async def _ranges(system: Any, path: str, sink: _Sink, start: int, end: int, location: Location) -> None:
    """Copies bytes [start, end). For a member, `start` is at its tar header, which is checked and not copied."""
    header = BLOCK if location.member is not None else 0
    for at in range(start, end, _RANGE_BYTES):
        until = min(at + _RANGE_BYTES, end)
        data = await system._cat_file(path, start=at, end=until)
        if len(data) != until - at:
            raise FetchFailed(f"'{location}' ended after {at + len(data)} bytes of {end}")
        if header and location.member is not None:
            check_header(data[:header], location.member[2], str(location))
            data, header = data[header:], 0
        sink.write(data)


async def _member_to(location: Location, target: str) -> LocalFile | ItemError:
    try:
        await asyncio.to_thread(_copy_member, location, target)
    except (ItemError, OSError) as error:
        Path(target).unlink(missing_ok=True)
        if isinstance(error, ItemError):
            return error
        return FetchFailed(f"cannot copy '{location}' to {os.path.dirname(target)}: {error.strerror}")
    return LocalFile(target, is_copy=True)


def _copy_member(location: Location, target: str) -> None:
    assert isinstance(location.file, str)
    assert location.member is not None
    _, offset, left = location.member
    with open_media(location.file, sys.maxsize) as shard, open(target, "xb") as copy:
        shard.seek(offset - BLOCK)
        check_header(shard.read(BLOCK), left, str(location))
        while left:
            data = shard.read(min(left, _CHUNK_BYTES))
            if not data:
                raise MissingFile(f"the shard ends within '{location}'")
            copy.write(data)
            left -= len(data)


def _known(result: LocalFile | ItemError) -> Future[LocalFile | ItemError]:
    """A future whose result is known already."""
    future: Future[LocalFile | ItemError] = Future()
    future.set_result(result)
    return future


def _too_large(shown: str, limit: int) -> TooLarge:
    return TooLarge(f"'{shown}' has more bytes than the limit decode.max_bytes, {limit}")
