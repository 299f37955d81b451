"""What a source lists: items as their owner describes them, not yet looked at, and in text that a store can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fuseid.core.errors import ItemError

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".tif", ".tiff", ".bmp"])
VIDEO_SUFFIXES = frozenset([".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".ogv"])
# Far more than any caption; a sidecar beyond it is not read.
SIDECAR_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a source, not yet looked at. `vectors`: ready-made ones by modality; `problem`: why it is refused."""

    content_id: str
    uri: str | None = None
    caption: str | None = None
    kind: str | None = None
    attributes: str = "{}"
    vectors: dict[str, np.ndarray] | None = None
    problem: ItemError | None = None


class Source(Protocol):
    """`base` is the local folder, or the remote uri of one, that relative uris start from and may not leave.

    A source may also have, once it was iterated, `notes` for the run, and in `incomplete` a reason why it lacks items
    that belong to it.
    """

    @property
    def base(self) -> Path | str: ...

    def __iter__(self) -> Iterator[Listed]: ...


def storable(text: str) -> str:
    """Lone surrogates, which no store takes (half an emoji, a file name that is not UTF-8), as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def without_surrogates(caption: str | None) -> str | None:
    if caption is None or caption.isascii():
        return caption
    return caption.encode("utf-8", "ignore").decode("utf-8")


def canonical(attributes: dict[str, Any]) -> str:
    """JSON that equals itself when read back from the store: no NaN, no number beyond 64 bits, no half characters."""
    return storable(json.dumps(_finite(attributes), sort_keys=True, ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_usable_vector(vector: np.ndarray) -> bool:
    """Finite and not zero."""
    return (
        bool(np.isfinite(vector).all())
        and math.isfinite(float(np.square(vector, dtype=np.float64).sum()))
        and bool(vector.any())
    )
