"""The items of a source, as their owner describes them: media are not opened yet, text is in a form that the store can
hold."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import Repr
from typing import Any, Protocol

from fuseid.core.errors import ItemError, NotReady
from fuseid.core.reasons import json_type
from fuseid.core.text import storable

IMAGE_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".png", ".apng", ".webp", ".gif", ".avif", ".avifs", ".tif",
    ".tiff", ".bmp", ".heic", ".heif", ".hif", ".jxl",
    # Not decoded, but named among the rejected items.
    ".svg",
])  # fmt: skip
VIDEO_SUFFIXES = frozenset([
    ".mp4", ".m4v", ".f4v", ".mov", ".qt", ".3gp", ".3g2", ".webm", ".mkv", ".mk3d", ".avi", ".divx", ".wmv", ".asf",
    ".flv", ".ogv", ".mpg", ".mpeg", ".mpe", ".vob", ".ts", ".m2t", ".mts", ".m2ts",
])  # fmt: skip
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
MANIFEST_COLUMNS = ("content_id", "uri", "caption", "kind", "attributes")
# Far more than any caption needs; a larger sidecar is not read.
SIDECAR_BYTES = 16 << 20

_shown = Repr()
_shown.maxstring = _shown.maxother = 80
# repr of bounded length, for messages.
shortened = _shown.repr


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One item of a source. `problem`: why the item is to be rejected; `deleted`: the item is withdrawn, and has none
    of the other fields; `place`: how a message names its row."""

    content_id: str
    uri: str | None = None
    caption: str | None = None
    kind: str | None = None
    attributes: str = "{}"
    problem: ItemError | None = None
    deleted: bool = False
    place: str | None = field(default=None, compare=False)


class Source(Protocol):
    """`base` is the local folder, or the remote uri of one, that relative uris start from and may not leave.

    After iteration a source may also have `notes` for the run, `incomplete` with a reason why items may be missing,
    `passed_over` with what it did not read, and `line_within_text`, which finds the line that names an item within the
    text of another item.
    """

    @property
    def base(self) -> Path | str: ...

    def __iter__(self) -> Iterator[SourceItem]: ...


@contextmanager
def unchanging(path: Path, shown: object) -> Iterator[None]:
    """Raises BadInput if the file is written to inside the block: what was read may be incomplete.

    A file that is replaced by a rename does not count: a reader that has opened it still sees the old file.
    """
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        yield
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise NotReady(f"{shown} was written to while it was read; run again when it is complete")


def json_object(text: str) -> dict[str, Any]:
    """Raises ValueError, TypeError or RecursionError for anything else."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise TypeError(f"a JSON object is needed, got {json_type(fields)}, {shortened(fields)}")
    return fields


def text_field(fields: Mapping[str, Any], name: str) -> str | None:
    """A field that holds text; None if it is missing, empty or null (which pandas writes as NaN).

    Raises TypeError for anything else.
    """
    value = fields.get(name)
    if _is_null(value):
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {json_type(value)}, {shortened(value)}")
    return value or None


def flag_field(fields: Mapping[str, Any], name: str) -> bool:
    """A field that holds true, false, 1 or 0; False if it is missing or null. Raises TypeError for anything else."""
    value = fields.get(name)
    if _is_null(value):
        return False
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise TypeError(f"{name} must be true or false, got {json_type(value)}, {shortened(value)}")
    return bool(value)


def attributes_field(value: Any) -> str:
    """Attributes as canonical JSON; see `attributes_object`."""
    try:
        return canonical(attributes_object(value))
    except RecursionError:
        raise ValueError("attributes are nested too deeply") from None


def attributes_object(value: Any) -> dict[str, Any]:
    """Attributes from an object, its JSON text, or a map of Parquet; nothing at all is an empty object.

    Raises TypeError or ValueError for anything else.
    """
    try:
        if isinstance(value, str) and value:
            try:
                value = json.loads(value)
            except ValueError:
                raise ValueError(f"attributes are no JSON object: {shortened(value)}") from None
        if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):  # a Parquet map
            value = dict(value)
    except RecursionError:
        raise ValueError("attributes are nested too deeply") from None
    if value == "" or _is_null(value):
        return {}
    if not isinstance(value, dict):
        raise TypeError(f"attributes must be an object, got {json_type(value)}, {shortened(value)}")
    return value


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def without_surrogates(caption: str | None) -> str | None:
    if caption is None or caption.isascii():
        return caption
    return caption.encode("utf-8", "ignore").decode("utf-8")


def canonical(attributes: dict[str, Any]) -> str:
    """JSON that is the same when read back from the store: no NaN, no number beyond 64 bits, no lone surrogates."""
    return json.dumps(_finite(attributes), sort_keys=True, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {storable(str(name)): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
