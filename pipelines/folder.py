"""A folder of media, each with a sidecar that holds its caption."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from fuseid.core.errors import BadSidecar
from fuseid.pipelines.listed import (
    IMAGE_SUFFIXES,
    SIDECAR_BYTES,
    VIDEO_SUFFIXES,
    Listed,
    canonical,
    storable,
    without_surrogates,
)  # fmt: skip


class Folder:
    """Every image and video below a folder; content_id is the path below it.

    A sidecar of the same stem holds the caption: `.txt` as it is, or `.json` with `caption`, `kind` and `attributes`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.resolve()
        self._unread: list[OSError] = []

    @property
    def incomplete(self) -> str | None:
        """Why the list lacks items, once it was iterated."""
        if not self._unread:
            return None
        return f"{len(self._unread)} folders below {self.path} cannot be read, {self._unread[0].filename!r} for one"

    @property
    def notes(self) -> list[str]:
        return [self.incomplete] if self.incomplete else []

    def __iter__(self) -> Iterator[Listed]:
        self._unread = []
        for directory, folders, names in os.walk(self.path, onerror=self._unread.append):
            folders.sort()
            for name in sorted(names):
                media = Path(directory) / name
                if media.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
                    yield self._listed(media)

    def _listed(self, media: Path) -> Listed:
        content_id = storable(media.relative_to(self.path).as_posix())
        kind = "video" if media.suffix.lower() in VIDEO_SUFFIXES else "image"
        caption, attributes = None, "{}"
        text, sidecar = media.with_suffix(".txt"), media.with_suffix(".json")
        problem = None
        try:
            # Not Path.is_file: a name of 255 bytes has no room for a sidecar's suffix, and that one raises.
            if os.path.isfile(sidecar):
                fields = json.loads(self._read(sidecar))
                caption, kind = without_surrogates(fields.get("caption")), storable(fields.get("kind") or kind)
                attributes = canonical(dict(fields.get("attributes") or {}))
            elif os.path.isfile(text):
                caption = self._read(text)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            problem = BadSidecar(f"cannot read the sidecar of {content_id}: {error}")
        return Listed(content_id, content_id, caption, kind, attributes, problem=problem)

    def _read(self, sidecar: Path) -> str:
        """Raises ValueError for what leads out of the folder or is larger than any caption."""
        if not sidecar.resolve().is_relative_to(self.base):
            raise ValueError(f"{sidecar.name} leads outside the folder")
        if sidecar.stat().st_size > SIDECAR_BYTES:
            raise ValueError(f"{sidecar.name} is larger than {SIDECAR_BYTES} bytes")
        return sidecar.read_text(encoding="utf-8-sig")
