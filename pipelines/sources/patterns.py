"""What a path, pattern or uri names: files and folders, on this machine or in a bucket."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, ItemError, unusable
from fuseid.pipelines.files.remote_uri import RemoteUri, parse_remote

# How the names begin of what is no data, as Spark writes it into a folder.
NO_DATA = ("_", ".")
_MOST_NAMES = 1_000_000
_MAGIC = re.compile(r"[{*?\[]")


@dataclass(frozen=True, slots=True)
class Named:
    """A file or folder. path: a local path, or a uri without a slash at its end."""

    path: str
    is_folder: bool


class Place(Protocol):
    """Where files lie; may be asked for any number of folders."""

    def within(self, folder: str) -> list[Named]:
        """What is directly in a folder, sorted by name. Raises BadInput for a folder that cannot be listed."""


class LocalPlace:
    def within(self, folder: str) -> list[Named]:
        return [Named(path, os.path.isdir(path)) for path in (os.path.join(folder, name) for name in names_in(folder))]


class RemotePlace:
    """A bucket. Raises BadInput for a web server, which lists no files."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config

    def within(self, folder: str) -> list[Named]:
        from fuseid.pipelines.files.filesystems import Remote

        uri = parse_remote(f"{folder.rstrip('/')}/")
        if uri.is_http:
            raise BadInput(f"{uri}: a web server does not list its files; name them, as in {{00000..00012}}.tar")
        try:
            with Remote(self._config) as remote:
                found = remote.entries(uri)
        except ItemError as error:
            raise unusable(f"cannot list {uri}: {error}", error) from None
        return [Named(f"{uri}{name}", is_folder) for name, is_folder in found]

    def is_folder(self, uri: RemoteUri) -> bool:
        """Raises ItemError if nothing is there."""
        from fuseid.pipelines.files.filesystems import Remote

        with Remote(self._config) as remote:
            found: dict[str, Any] = remote.info(uri)
        return found["type"] == "directory"


def names_in(folder: str | os.PathLike[str]) -> list[str]:
    """The sorted names in a local folder; none if it is not a folder."""
    try:
        return sorted(os.listdir(folder or os.curdir))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unusable(f"cannot list {folder}: {error.strerror}", error) from None


def is_pattern(text: str) -> bool:
    return _MAGIC.search(text) is not None


def fixed_folder(text: str) -> str:
    """The folder before the first wildcard of a pattern."""
    return text[: _MAGIC.search(text).start()].rpartition("/")[0] if is_pattern(text) else text  # type: ignore[union-attr]


def matching(pattern: str, place: Place) -> Iterator[Named]:
    """Like glob.glob, but with BadInput for a folder that cannot be read, which glob.glob skips. A name that begins
    like those of no data is only found by a pattern that begins so."""
    folder, wanted = os.path.split(pattern)
    folders = (
        [named.path for named in matching(folder, place) if named.is_folder] if glob.has_magic(folder) else [folder]
    )
    for inside in folders:
        for named in place.within(inside):
            name = os.path.basename(named.path)
            if fnmatchcase(name, wanted) and (not name.startswith(NO_DATA) or wanted.startswith(NO_DATA)):
                yield named


def allowed_uri(text: str, spelled: str, config: SourceConfig) -> RemoteUri:
    """The uri `spelled`, a part of what the user wrote. Raises BadInput if `source.schemes` does not allow it."""
    try:
        uri = parse_remote(spelled)
    except ValueError as error:
        raise BadInput(f"cannot read from {text!r}: {error}") from None
    if uri.scheme not in config.schemes:
        raise BadInput(f"cannot read from {text!r}: add {uri.scheme} to source.schemes in the configuration")
    return uri


def braces(text: str) -> Iterator[str]:
    """Expands `{00..12}` and `{a,b}`, as shells do. Raises BadInput for more than a million results."""
    texts = [text]
    while match := re.search(r"\{([^{}]*)\}", texts[0]):
        inner = match[1]
        ends = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", inner)
        if ends is None and "," not in inner:
            break
        if ends is not None:
            first, last = int(ends[1]), int(ends[2])
            width = max(len(ends[1]), len(ends[2])) if "0" in (ends[1][0], ends[2][0]) else 0
            if abs(last - first) >= _MOST_NAMES:
                raise BadInput(f"{text} names more than {_MOST_NAMES} files")
            step = 1 if first <= last else -1
            parts = [str(number).zfill(width) for number in range(first, last + step, step)]
        else:
            parts = inner.split(",")
        if len(parts) * len(texts) > _MOST_NAMES:
            raise BadInput(f"{text} names more than {_MOST_NAMES} files")
        # The first braces of every text come from the same braces of the pattern, so texts[0] is like all others.
        texts = [_put(spelled, part) for spelled in texts for part in parts]
    yield from texts


def _put(text: str, part: str) -> str:
    return re.sub(r"\{([^{}]*)\}", lambda _: part, text, count=1)
