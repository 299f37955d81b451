"""What a part must offer to take another's place; structural, so nothing inherits from anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from fuseid.core.records import Description

Step = Callable[[pa.RecordBatch], pa.RecordBatch]
"""One stage of the way: a pure function of a batch; bad items leave with their error columns set."""


class ClipLike(Protocol):
    """Encodes frames and captions into one space."""

    dim: int
    fingerprint: str

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] each, of any sizes -> float32 [N, dim], unit norm."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm."""


class VlmLike(Protocol):
    """Encodes the frames and the caption of an item into one vector, and puts frames into words."""

    dim: int
    fingerprint: str

    def encode_items(self, items: Sequence[tuple[Sequence[np.ndarray], str | None]]) -> np.ndarray:
        """(frames, caption) each -> float32 [N, dim], unit norm."""

    def describe(self, frames: Sequence[Sequence[np.ndarray]]) -> Sequence[Description]:
        """Frames of each item -> its generated caption and tags."""


class Tokenizer(Protocol):
    """Vectors to codes and back; an artifact's `id` is the hash of its content."""

    id: str
    codebook_sizes: tuple[int, ...]

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray: ...

    def decode(self, codes_NL: np.ndarray) -> np.ndarray: ...

    def save(self, directory: Path) -> None: ...


class Committer(Protocol):
    """Makes a wave of finished rows durable. Replaying a wave is harmless."""

    def commit(self, wave: pa.Table) -> tuple[int, int]:
        """A table of DONE rows -> (rows committed, rows rejected)."""
