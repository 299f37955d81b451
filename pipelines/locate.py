"""From a uri to a local path that the configuration allows; the only place that decides what may be opened."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fuseid.core.config import SourceConfig
from fuseid.core.errors import NotAllowed


class Locator:
    """Relative uris start at `base`; nothing outside `base` and the configured prefixes is opened, links resolved."""

    def __init__(self, base: Path, config: SourceConfig) -> None:
        self._base = base.resolve()
        self._roots = (self._base, *(Path(prefix).resolve() for prefix in config.allow))

    def path(self, uri: str) -> str:
        """Raises NotAllowed, with what to configure."""
        given = uri
        if "://" in uri:
            try:
                parts = urlsplit(uri)
            except ValueError as error:
                raise NotAllowed(f"{uri!r} is no uri: {error}") from None
            if parts.scheme != "file":
                raise NotAllowed(f"only local files are opened, not {uri!r}; copy the media here and name its path")
            if parts.netloc not in ("", "localhost"):
                raise NotAllowed(f"{uri!r} names another host")
            uri = unquote(parts.path)
        if "\0" in uri:
            raise NotAllowed(f"uri holds a NUL character: {given!r}")
        resolved = os.path.realpath(self._base / uri)
        if not any(Path(resolved).is_relative_to(root) for root in self._roots):
            raise NotAllowed(f"{uri!r} leads outside the manifest's folder; if that is meant, add it to source.allow")
        return resolved


def stat_of(path: str) -> str | None:
    """`SIZE:MTIME_NS` of a file, None where it cannot be looked at: decides whether to look again, not what is new."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return f"{stat.st_size}:{stat.st_mtime_ns}"
