"""Media that lie elsewhere, in tar shards or at remote uris, as local files of bounded size for as long as needed."""

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
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.asyn import get_loop, sync
from fsspec.callbacks import Callback

from fuseid.core.ahead import map_ahead
from fuseid.core.config import SourceConfig
from fuseid.core.errors import FetchFailed, ItemError, MissingFile, TooLarge
from fuseid.encoders.media_file import open_media
from fuseid.pipelines.files.access import Location, stat_of
from fuseid.pipelines.files.remote_uri import RemoteUri
from fuseid.pipelines.files.tar import BLOCK, check_header

if TYPE_CHECKING:
    from fuseid.pipelines.files.filesystems import Remote

# Bytes asked of an object store at a time; what is held in memory of one file.
_RANGE_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 18
# s3fs and gcsfs try again by themselves; http is tried again after these seconds.
_PAUSES = (0.2, 1.0)
_STAT_SECONDS = 10.0
# A host that failed so often in a row is left alone for a while: it must not hold up the items of others.
_FAILURES_IN_A_ROW = 6
_REST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to decode; a copy is removed by `release`."""

    path: str
    is_copy: bool

    def release(self) -> None:
        if self.is_copy:
            Path(self.path).unlink(missing_ok=True)


class Fetcher:
    """Brings media here. Safe to use from several threads; starts a thread for connections when first needed.

    max_bytes: of one medium; more is not fetched. Copies lie in a private folder under TMPDIR.
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
        """Ends all connections. Harmless when repeated."""
        with self._lock:
            remote, self._remote = self._remote, None
        if remote is not None:
            remote.close()

    @contextmanager
    def files(self, places: Sequence[str]) -> Iterator[Iterator[LocalFile | ItemError]]:
        """The text of a `Location` each -> in their order its file, or what is wrong with it.

        Fetches up to `source.concurrency` ahead of the reader. All copies are gone when the block ends.
        """
        parsed = [Location.parse(place) for place in places]
        if all(place.is_plain for place in parsed):
            yield (LocalFile(place, is_copy=False) for place in places)
            return
        with tempfile.TemporaryDirectory(prefix="fuseid-media-", ignore_cleanup_errors=True) as folder:
            work = ((place, f"{folder}/{number}") for number, place in enumerate(parsed))
            with closing(map_ahead(lambda one: self._begin(*one), work, self._config.concurrency - 1)) as files:
                yield files

    def stats(self, places: Sequence[Location]) -> list[str | None]:
        """Per place what changes when its file does, as far as its server says (UNVERSIONED); None where it cannot be
        looked at now. Asks for each file once."""
        looks: dict[str | RemoteUri, Future[str | None] | str | None] = {}
        for file in {place.file for place in places}:
            if isinstance(file, str):
                looks[file] = stat_of(file)
            else:
                with suppress(Exception):  # no credentials, say: new items will tell when they are fetched
                    looks[file] = self._run(self._look(self._opened(file), file))
        found = []
        for place in places:
            look = looks.get(place.file)
            stat = look.result() if isinstance(look, Future) else look
            if stat is not None and place.member is not None:
                stat = f"{stat}+{place.member[1]}+{place.member[2]}"
            found.append(stat)
        return found

    def download(self, uri: RemoteUri, target: Path) -> None:
        """A file that the user named, of any size, in its own time. Raises ItemError, also if it changes meanwhile."""
        from fuseid.pipelines.files.filesystems import stat_of_info

        try:
            remote = self._opened(uri)
            before = None if uri.is_http else remote.info(uri)  # of the web it is one answer
            with _Sink(target, sys.maxsize, str(uri)) as sink:
                sync(get_loop(), self._copy, remote, Location(uri), sink)
            if before is not None and stat_of_info(before) != stat_of_info(remote.info(uri)):
                raise FetchFailed(f"'{uri}' was written to while it was read; run again when it is complete")
        except Exception as error:
            raise self._item_error(error, uri) from None

    def _begin(self, place: Location, target: str) -> Future[LocalFile | ItemError]:
        if place.is_plain:
            return _known(LocalFile(str(place), is_copy=False))
        if place.member is not None and place.member[1] < BLOCK:
            return _known(MissingFile(f"no member lies at '{place}'"))
        if place.member is not None and place.member[2] > self._max_bytes:
            return _known(_too_large(str(place), self._max_bytes))
        if isinstance(place.file, str):
            return self._run(_member_to(place, target))
        try:
            return self._run(self._fetch(self._opened(place.file), place, place.file, target))
        except Exception as error:
            return _known(self._item_error(error, place.file))

    def _opened(self, uri: RemoteUri) -> Remote:
        from fuseid.pipelines.files.filesystems import Remote

        with self._lock:
            self._remote = remote = self._remote or Remote(self._config)
        remote.system(uri)
        return remote

    def _run(self, work: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, get_loop())

    async def _fetch(self, remote: Remote, place: Location, uri: RemoteUri, target: str) -> LocalFile | ItemError:
        try:
            async with self._slots:
                if self._rests(uri):
                    return FetchFailed(f"'{uri}' was not asked for: {uri.authority} failed too often in a row")
                async with asyncio.timeout(self._config.timeout_seconds):
                    with _Sink(target, self._max_bytes, str(place)) as sink:
                        await self._copy(remote, place, sink)
        except Exception as error:
            Path(target).unlink(missing_ok=True)
            return self._noted(uri, error)
        self._failures.pop(uri.authority, None)
        return LocalFile(target, is_copy=True)

    async def _look(self, remote: Remote, uri: RemoteUri) -> str | None:
        from fuseid.pipelines.files.filesystems import stat_of_info

        try:
            async with self._slots:
                if self._rests(uri):
                    return None
                async with asyncio.timeout(min(_STAT_SECONDS, self._config.timeout_seconds)):
                    with remote.asking(uri) as (system, path):
                        info = await system._info(path)
        except Exception as error:
            self._noted(uri, error)
            return None
        self._failures.pop(uri.authority, None)
        return stat_of_info(info) if info["type"] == "file" else None

    async def _copy(self, remote: Remote, place: Location, sink: _Sink) -> None:
        from fuseid.pipelines.files.filesystems import is_passing

        assert isinstance(place.file, RemoteUri)
        for pause in (*_PAUSES, None):
            sink.begin()
            try:
                with remote.asking(place.file) as (system, path):
                    if place.member is not None:
                        _, offset, size = place.member
                        await _ranges(system, path, sink, offset - BLOCK, offset + size, place)
                    elif place.file.is_http:
                        how = {"chunk_size": _CHUNK_BYTES, "callback": _Announced(sink), "timeout": remote.unhurried}
                        await system._get_file(path, sink, **how)
                    else:
                        info = await system._info(path)
                        if info["type"] != "file":
                            raise MissingFile(f"'{place.file}' is a folder")
                        sink.check(info["size"])
                        await _ranges(system, path, sink, 0, info["size"], place)
                return
            except Exception as error:
                if pause is None or not is_passing(error):
                    raise
                await asyncio.sleep(pause)

    def _rests(self, uri: RemoteUri) -> bool:
        count, last = self._failures.get(uri.authority, (0, 0.0))
        return count >= _FAILURES_IN_A_ROW and time.monotonic() < last + _REST_SECONDS

    def _noted(self, uri: RemoteUri, error: Exception) -> ItemError:
        told = self._item_error(error, uri)
        if isinstance(told, FetchFailed):
            count, _ = self._failures.get(uri.authority, (0, 0.0))
            self._failures[uri.authority] = (count + 1, time.monotonic())
        return told

    def _item_error(self, error: Exception, uri: RemoteUri) -> ItemError:
        from fuseid.pipelines.files.filesystems import item_error

        return item_error(error, uri)


class _Sink(io.FileIO):
    """A new file that takes `limit` bytes and no more."""

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


class _Announced(Callback):
    """Ends a transfer that says at its beginning that it is too long."""

    def __init__(self, sink: _Sink) -> None:
        super().__init__()
        self._sink = sink

    def set_size(self, size: int | None) -> None:
        self._sink.check(size or 0)


async def _ranges(system: Any, path: str, sink: _Sink, start: int, end: int, place: Location) -> None:
    """Copies bytes [start, end); of a member it begins at the header, which is checked and left out."""
    header = BLOCK if place.member is not None else 0
    for at in range(start, end, _RANGE_BYTES):
        until = min(at + _RANGE_BYTES, end)
        data = await system._cat_file(path, start=at, end=until)
        if len(data) != until - at:
            raise FetchFailed(f"'{place}' ended after {at + len(data)} bytes of {end}")
        if header and place.member is not None:
            check_header(data[:header], place.member[2], str(place))
            data, header = data[header:], 0
        sink.write(data)


async def _member_to(place: Location, target: str) -> LocalFile | ItemError:
    try:
        await asyncio.to_thread(_copy_member, place, target)
    except (ItemError, OSError) as error:
        Path(target).unlink(missing_ok=True)
        if isinstance(error, ItemError):
            return error
        return FetchFailed(f"cannot copy '{place}' to {os.path.dirname(target)}: {error.strerror}")
    return LocalFile(target, is_copy=True)


def _copy_member(place: Location, target: str) -> None:
    assert isinstance(place.file, str)
    assert place.member is not None
    _, offset, left = place.member
    with open_media(place.file, sys.maxsize) as shard, open(target, "xb") as copy:
        shard.seek(offset - BLOCK)
        check_header(shard.read(BLOCK), left, str(place))
        while left:
            data = shard.read(min(left, _CHUNK_BYTES))
            if not data:
                raise MissingFile(f"the shard ends within '{place}'")
            copy.write(data)
            left -= len(data)


def _known(result: LocalFile | ItemError) -> Future[LocalFile | ItemError]:
    """What there is nothing to wait for."""
    future: Future[LocalFile | ItemError] = Future()
    future.set_result(result)
    return future


def _too_large(shown: str, limit: int) -> TooLarge:
    return TooLarge(f"'{shown}' has more bytes than the limit decode.max_bytes, {limit}")
