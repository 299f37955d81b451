"""From a uri to the Location it names, if the configuration allows it: the only module that decides what may be
opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fsspec.registry import available_protocols

from fuseid.core.config import SourceConfig
from fuseid.core.errors import ConfigError, NotAllowed
from fuseid.pipelines.files.remote_uri import SCHEMES, RemoteUri, parse_remote

# `00000.tar#000000123.jpg@1536+20480`: the member's name (only shown to people), and its offset and size in bytes.
_MEMBER = re.compile(r"(?P<file>.+?\.tar)#(?P<name>.+)@(?P<offset>[0-9]{1,18})\+(?P<size>[0-9]{1,18})", re.DOTALL)
# These are schemes even without slashes, as in `data:`; any other text before a colon is part of a local file's name.
_KNOWN_SCHEMES = frozenset(available_protocols()) | {"jar", "javascript", "gopher", "dict", "tftp", "ldap"}

_MOST_FOLDERS = 10_000
# Begins the stat of a file whose server sends neither ETag nor Last-Modified; the size follows, if it is known.
UNVERSIONED = "unversioned:"
# The stat of a file that was not looked at, because its server refuses HEAD; the fetch of the file gives the real one.
UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of a medium are: in a local file (its real path) or at a remote uri; for a member of a tar shard
    also its name, offset and size in bytes. `str` gives its text, `parse` reads that back."""

    file: str | RemoteUri
    member: tuple[str, int, int] | None = None

    def __str__(self) -> str:
        return member_uri(str(self.file), *self.member) if self.member else str(self.file)

    @property
    def is_plain(self) -> bool:
        """Whether it is a whole local file, which can be opened directly."""
        return isinstance(self.file, str) and self.member is None

    @classmethod
    def parse(cls, text: str) -> Location:
        file, member = _split_member(text)
        return cls(file if file.startswith("/") else parse_remote(file), member)


def member_uri(shard: str, name: str, offset: int, size: int) -> str:
    """The uri of a member of a tar shard, by which it can be read without the rest of the shard."""
    return f"{shard}#{name}@{offset}+{size}"


class AccessPolicy:
    """Allows uris below `base` and below the prefixes of `source.allow`, judged after symbolic links are resolved.
    Relative uris start at `base`.

    base: a local folder, or the remote uri of one. Raises ConfigError for a prefix that allows nothing.
    """

    def __init__(self, base: Path | str, config: SourceConfig) -> None:
        self._config = config
        self._remote = allowed_prefixes(config)
        self._folders: dict[str, str] = {}
        roots = [Path(prefix).resolve() for prefix in config.allow if "://" not in prefix]
        self._remote_base: RemoteUri | None = None
        if "://" in str(base):
            self._remote_base = parse_remote(str(base))
            self._remote = (self._remote_base, *self._remote)
        else:
            self._base = Path(base).resolve()
            roots = [self._base, *roots]
        # With a separator at the end, so that /a/bc is not taken for a path inside /a/b.
        self._roots = tuple(os.path.join(root, "") for root in roots)

    def locate(self, uri: str) -> Location:
        """The Location of a uri. Raises NotAllowed with what to configure."""
        if "\0" in uri:
            raise NotAllowed(f"uri holds a NUL character: {uri!r}")
        file, member = _split_member(uri)
        scheme = _scheme(file)
        if scheme == "" and self._remote_base is not None and not file.startswith("/"):
            file, scheme = f"{str(self._remote_base).rstrip('/')}/{file}", self._remote_base.scheme
        if scheme in ("", "file"):
            return Location(self._local(uri, file if scheme == "" else _path_of_file_uri(file)), member)
        try:
            remote = parse_remote(_unchained(file))
        except ValueError as error:
            raise NotAllowed(f"{uri!r} is not opened: {error}") from None
        check_remote(remote, self._remote, self._config)
        return Location(remote, member)

    def _real(self, path: str) -> str:
        """Like os.path.realpath, but resolves each folder once, not once for each of its files."""
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            return os.path.realpath(path)
        real = self._folders.get(folder)
        if real is None:
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders.clear()
            real = self._folders[folder] = os.path.realpath(folder)
        inside = os.path.join(real, name)
        return os.path.realpath(inside) if os.path.islink(inside) else inside

    def _local(self, uri: str, path: str) -> str:
        if "\0" in path:
            raise NotAllowed(f"uri holds a NUL character: {uri!r}")
        if self._remote_base is not None and not path.startswith("/"):
            raise NotAllowed(f"{uri!r} is relative, and the manifest is not a local file")
        resolved = self._real(path if self._remote_base is not None else os.path.join(self._base, path))
        if not any(f"{resolved}/".startswith(root) for root in self._roots):
            raise NotAllowed(f"{uri!r} leads outside the manifest's folder; if that is meant, add it to source.allow")
        if _split_member(resolved)[1] is not None:
            raise NotAllowed(f"{uri!r} is a file whose name reads like a member of a tar; rename it")
        return resolved


def allowed_prefixes(config: SourceConfig) -> tuple[RemoteUri, ...]:
    """The remote prefixes of `source.allow`. Raises ConfigError for one that allows nothing."""
    prefixes = []
    for text in config.allow:
        if "://" not in text:
            continue
        try:
            prefix = parse_remote(text)
        except ValueError as error:
            raise ConfigError(f"source.allow: {text!r} is no prefix: {error}") from None
        if prefix.query:
            raise ConfigError(f"source.allow: {text!r} has a query; a prefix is a host or bucket and folders")
        if prefix.scheme not in config.schemes:
            raise ConfigError(f"source.allow names {text!r}; add {prefix.scheme} to source.schemes, or drop it")
        prefixes.append(prefix)
    return tuple(prefixes)


def check_remote(uri: RemoteUri, prefixes: tuple[RemoteUri, ...], config: SourceConfig) -> None:
    """Raises NotAllowed unless `uri` has a configured scheme and lies below one of `prefixes`."""
    if uri.scheme not in config.schemes:
        raise NotAllowed(f"'{uri}' is not opened; if that is meant, add {uri.scheme} to source.schemes")
    if not any(uri.is_below(prefix) for prefix in prefixes):
        raise NotAllowed(f"'{uri}' is below no prefix that is allowed; if that is meant, add it to source.allow")


def stat_of(path: str) -> str | None:
    """`SIZE:MTIME_NS` of a file, None if it cannot be reached. A difference means that the file must be read again, not
    that its content has changed."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def size_of(stat: str) -> int:
    """The size in bytes that `stat_of` has found."""
    return int(stat.partition(":")[0])


def _split_member(uri: str) -> tuple[str, tuple[str, int, int] | None]:
    match = _MEMBER.fullmatch(uri)
    if not match:
        return uri, None
    return match["file"], (match["name"], int(match["offset"]), int(match["size"]))


def _scheme(uri: str) -> str:
    """The scheme in lower case; empty for a plain path."""
    before, slashes, _ = uri.partition("://")
    if slashes:
        return before.lower() or "nothing"
    name = uri.partition(":")[0].lower()
    return name if ":" in uri and name in _KNOWN_SCHEMES else ""


def _unchained(uri: str) -> str:
    """The uri itself. Raises ValueError for `a::b`, which fsspec reads as one file system inside another (`::` in the
    brackets of an IPv6 address is allowed), and for an unknown scheme."""
    if "::" in re.sub(r"^([^/]*//)\[[^\]/]*\]", r"\1", uri):
        raise ValueError("it chains file systems")
    if _scheme(uri) not in SCHEMES:
        raise ValueError(f"only local files and {', '.join(SCHEMES)} are")
    return uri


def _path_of_file_uri(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise NotAllowed(f"{uri!r} is no uri: {error}") from None
    if not uri[5:].startswith("//") or parts.netloc.lower() not in ("", "localhost"):
        raise NotAllowed(f"{uri!r} names another host; a local file is file:///PATH")
    return unquote(parts.path)
