"""The records that steps exchange inside one process; each validates itself when created."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

KINDS = ("image", "video", "text")

# One text per ID: ASCII digits without leading zeros, so that `parse` is the inverse of `str` and of nothing else.
_SID = re.compile(r"(?:0|[1-9][0-9]*)(?:-(?:0|[1-9][0-9]*))*(?:\.[1-9][0-9]*)?")


@dataclass(frozen=True, slots=True)
class Content:
    """One item of a catalogue as its source describes it. `uri` is None for an item with only a caption."""

    content_id: str
    kind: str
    uri: str | None = None
    caption: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Frames of one medium, ready for any encoder.

    frames: uint8 [T, H, W, 3], RGB, aspect ratio kept, long side limited, rotation applied.
    timestamps: float64 [T], seconds from the first frame, ascending (0.0 for an image).
    width, height: pixels of the medium as shown, before it is reduced. duration: seconds, 0.0 for an image.
    media_hash: hex BLAKE2b-128 of the file's bytes. decoder: "pillow", "decord" or "pyav".
    """

    frames: np.ndarray
    timestamps: np.ndarray
    width: int
    height: int
    duration: float
    media_hash: str
    decoder: str
    thumbnail: bytes = b""

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3 or not self.frames.size:
            raise ValueError(
                f"frames must be uint8 [T, H, W, 3] and not empty, got {self.frames.dtype} {self.frames.shape}"
            )
        if self.timestamps.shape != (self.frames.shape[0],):
            raise ValueError(f"timestamps must be [{self.frames.shape[0]}], got {self.timestamps.shape}")


@dataclass(frozen=True, slots=True)
class Description:
    """What a VLM generates for one item; a field is None if it was not asked for, or the model's reply was empty."""

    caption: str | None
    tags: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SemanticId:
    """Codes from coarse to fine, and a collision suffix if an earlier item has the same codes.

    Text form: `12-240-7`, with a suffix `12-240-7.1`.
    """

    codes: tuple[int, ...]
    suffix: int | None = None

    def __post_init__(self) -> None:
        if not self.codes or min(self.codes) < 0:
            raise ValueError(f"codes must be one or more non-negative integers, got {self.codes}")
        if self.suffix is not None and self.suffix < 1:
            raise ValueError(f"suffix must be None or at least 1, got {self.suffix}")

    def __str__(self) -> str:
        base = "-".join(map(str, self.codes))
        return base if self.suffix is None else f"{base}.{self.suffix}"

    @classmethod
    def parse(cls, text: str) -> SemanticId:
        """The inverse of `str`. Raises ValueError on anything else."""
        if not _SID.fullmatch(text):
            raise ValueError(f"not a semantic ID: {text!r} (expected a form like 12-240-7 or 12-240-7.1)")
        base, _, suffix = text.partition(".")
        return cls(tuple(map(int, base.split("-"))), int(suffix) if suffix else None)
