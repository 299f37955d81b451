"""A folder of media, each with a sidecar that holds its caption."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fuseid.core.errors import BadSidecar
from fuseid.core.reasons import reason
from fuseid.core.text import storable
from fuseid.pipelines.sources.item import (
    MEDIA_SUFFIXES,
    SIDECAR_BYTES,
    VIDEO_SUFFIXES,
    SourceItem,
    attributes_field,
    attributes_object,
    json_object,
    text_field,
    without_surrogates,
)
from fuseid.pipelines.sources.passed_over import FOLDERS, PassedOver
from fuseid.pipelines.sources.sidecar import sidecar_attributes
from fuseid.pipelines.sources.success import NAME as SUCCESS

_HERE = Path()
_FILES = (*MEDIA_SUFFIXES, ".json", ".txt")


class Folder:
    """Every image and video below a folder; content_id is the path below it.

    A sidecar of the same stem holds the caption: a `.txt`, or a `.json` with `caption`, `kind` and `attributes`, whose
    other fields are attributes too, as img2dataset writes them. If there are both, a caption in the `.json` wins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.resolve()
        self._unread: list[OSError] = []
        self._linked: list[str] = []
        self.passed_over = PassedOver()

    @property
    def incomplete(self) -> str | None:
        """After iteration: why items may be missing from the list; None if none are."""
        reasons = []
        if self._unread:
            first = self._unread[0].filename
            reasons.append(f"{len(self._unread)} folders below {self.path} cannot be read, {first!r} for one")
        if self._linked:
            reasons.append(
                f"{len(self._linked)} linked folders were not entered, {self._linked[0]!r} for one (name them as "
                "sources of their own, or move them in)"
            )
        return "; ".join(reasons) or None

    @property
    def notes(self) -> list[str]:
        return [self.incomplete] if self.incomplete else []

    def __iter__(self) -> Iterator[SourceItem]:
        self._unread, self._linked = [], []
        self.passed_over = PassedOver()
        for directory, folders, names in os.walk(self.path, onerror=self._unread.append):
            folders.sort()
            # os.walk does not enter linked folders: a link may lead out of the folder, or round in a circle.
            self._linked += filter(os.path.islink, (os.path.join(directory, name) for name in folders))
            # A broken link may be one to a folder on a disk that is not mounted.
            broken = {name for name in names if not name.lower().endswith(_FILES) and _is_broken(directory, name)}
            self._linked += (os.path.join(directory, name) for name in sorted(broken))
            below = Path(directory).relative_to(self.path)
            there = set(names)
            left = there - broken - {SUCCESS}
            for name in sorted(names):
                stem, _, suffix = name.rpartition(".")
                suffix = f".{suffix.lower()}"
                if stem and suffix in MEDIA_SUFFIXES:
                    sidecars = [f"{stem}{end}" for end in (".json", ".txt") if f"{stem}{end}" in there]
                    left -= {name, *sidecars}
                    content_id = storable(_within(below, name))
                    kind = "video" if suffix in VIDEO_SUFFIXES else "image"
                    yield self._listed(content_id, kind, [Path(directory, sidecar) for sidecar in sidecars])
            for name in sorted(left):
                self.passed_over.add(_within(below, name))
            for name in folders:
                if os.path.splitext(name)[1].lower() in MEDIA_SUFFIXES:
                    self.passed_over.add(_within(below, name), FOLDERS)

    def _listed(self, content_id: str, kind: str, sidecars: list[Path]) -> SourceItem:
        caption, attributes = None, "{}"
        problem = None
        name = sidecars[0].name if sidecars else ""
        try:
            for sidecar in filter(_is_file, sidecars):
                name = sidecar.name
                if sidecar.suffix == ".json":
                    fields = json_object(self._read(sidecar))
                    caption = without_surrogates(text_field(fields, "caption"))
                    kind = storable(text_field(fields, "kind") or kind)
                    own = sidecar_attributes(fields, without=("kind", "attributes"))
                    attributes = attributes_field({**own, **attributes_object(fields.get("attributes"))})
                elif caption is None:
                    caption = self._read(sidecar)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            problem = BadSidecar(f"cannot use the sidecar {storable(name)} of {content_id}: {reason(error)}")
        return SourceItem(content_id, content_id, caption, kind, attributes, problem=problem)

    def _read(self, sidecar: Path) -> str:
        """The text of a sidecar. Raises ValueError if it is outside the folder or larger than any caption."""
        if not sidecar.resolve().is_relative_to(self.base):
            raise ValueError(f"{sidecar.name} leads outside the folder")
        if sidecar.stat().st_size > SIDECAR_BYTES:
            raise ValueError(f"{sidecar.name} is larger than {SIDECAR_BYTES} bytes")
        return sidecar.read_text(encoding="utf-8-sig")


def _within(folder: Path, name: str) -> str:
    return name if folder == _HERE else f"{folder}/{name}"


def _is_broken(directory: str, name: str) -> bool:
    """Whether it is a link to nothing."""
    path = os.path.join(directory, name)
    return os.path.islink(path) and not os.path.exists(path)


def _is_file(path: Path) -> bool:
    """False for a broken link. Raises OSError if the file cannot be reached, where os.path.isfile returns False."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
