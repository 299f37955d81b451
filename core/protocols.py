"""What a part must offer to take another's place; structural, so nothing inherits from anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

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
    """Vectors of D numbers to L codes and back. A class of this kind stands in `tokenizers.registry`.

    KIND: the value of `tokenizer.kind`, and what the id begins with. id: `KIND-` and the hash of the content, known
    when the object is made. meta: `version`, `codebook_sizes`, `fusion` (the id of the fusion whose vectors it was
    fitted on, or None) and `metrics`, which are no part of the id; of them `r2_per_level` is always there.
    """

    KIND: ClassVar[str]
    id: str
    meta: dict[str, Any]
    dim: int
    codebook_sizes: tuple[int, ...]

    @classmethod
    def fit(cls, vectors_ND: np.ndarray, codebook_sizes: Sequence[int], *args: Any, **options: Any) -> Self:
        """vectors_ND: float32 [N, D], finite. Keyword arguments: the keys of the kind's section of the config, `seed`,
        `fusion`, and `progress`, called with (steps done, steps), first with 0 done.

        Raises BadInput for vectors that are not finite or too few.
        """

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L]. Raises BadInput for another D or NaN."""

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L (a prefix gives its coarse vector) -> float32 [N, D]."""

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] -> (codes int32 [N, C, L], squared errors float32 [N, C]), smallest error first; C is `count`,
        or as many as there are. Raises BadInput for another D or NaN.
        """

    def save(self, directory: Path) -> None:
        """Writes the artifact into a directory, which is made."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version of its kind."""
