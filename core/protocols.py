"""Interfaces of replaceable parts; structural (PEP 544), so no class inherits from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import pyarrow as pa

from fuseid.core.records import Description

Step = Callable[[pa.RecordBatch], pa.RecordBatch]
"""One step of the pipeline: a pure function of a batch; it sets the error columns of bad items."""


class ClipLike(Protocol):
    """Encodes frames and captions into one space."""

    dim: int
    fingerprint: str

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] each, of any sizes -> float32 [N, dim], unit norm."""

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm."""


class VlmLike(Protocol):
    """Encodes the frames and the caption of an item into one vector, and describes frames in words."""

    dim: int
    fingerprint: str

    def encode_items(self, items: Sequence[tuple[Sequence[np.ndarray], str | None]]) -> np.ndarray:
        """(frames, caption) each -> float32 [N, dim], unit norm."""

    def describe(self, frames: Sequence[Sequence[np.ndarray]]) -> Sequence[Description]:
        """Frames of each item -> its generated caption and tags."""


class Tokenizer(Protocol):
    """Converts vectors of D numbers to L codes and back. `tokenizers.registry` lists the classes.

    KIND: the value of `tokenizer.kind`, and the start of the id. id: `KIND-` and the hash of the content, computed when
    the object is created. meta: `version`, `codebook_sizes`, `fusion` (the id of the fusion whose vectors it was fitted
    on, or None) and `metrics`, which are not part of the id; `encodes`, see `core.artifacts.encodes`, may be missing.
    """

    KIND: ClassVar[str]
    id: str
    meta: dict[str, Any]
    dim: int
    codebook_sizes: tuple[int, ...]

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L]. Raises BadInput for another D or NaN."""

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L (a prefix gives its coarse vector) -> float32 [N, D]."""

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] -> (codes int32 [N, C, L], squared errors float32 [N, C]), smallest error first; C is `count`,
        or as many as there are. Raises BadInput for another D or NaN.
        """

    def save(self, directory: Path) -> None:
        """Writes the artifact into `directory`, which is created."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version of its kind."""


class FittedTokenizer(Tokenizer, Protocol):
    """A tokenizer that is learned from vectors: every kind of `tokenizer.kind`. Its metrics include `r2_per_level`.

    A kind whose attribute FITS_BLOCKS is true is given blocks, which may hold any number of vectors. One that lacks it
    need only take an array; it is given all vectors in memory, so that `tokenizer.sample` is bounded by that.
    """

    @classmethod
    def fit(cls, vectors: Any, codebook_sizes: Sequence[int], *args: Any, **options: Any) -> Self:
        """vectors: float32 [N, D], finite: `core.row_blocks.Blocks` or an array. Keyword arguments: the keys of the
        kind's config section, `seed`, `fusion`, and `progress`, which is called with (steps done, steps), first with 0
        done.

        Raises BadInput for vectors that are not finite or too few.
        """


@runtime_checkable
class AlignableTokenizer(Tokenizer, Protocol):
    """A tokenizer whose codes can be renumbered, so that a later fit keeps codes of an earlier one. A kind without this
    method is always fitted cold."""

    def permuted(self, numbers: Sequence[np.ndarray], aligned_to: dict[str, Any]) -> Self:
        """The same tokenizer, in which code k of level l has the number numbers[l][k]. numbers: int [K_l] for each
        level, permutations. aligned_to: the value of that key of the new meta, which is part of the new id.
        """


class WarmTokenizer(AlignableTokenizer, Protocol):
    """A kind whose `fit` takes another argument, `start`: what `start_from` returns. One without is aligned after a
    cold fit."""

    @classmethod
    def start_from(
        cls, earlier: Tokenizer | None, vectors_ND: np.ndarray, codes_NL: np.ndarray, codebook_sizes: Sequence[int]
    ) -> Any:
        """The start of a later fit. earlier: a tokenizer of this kind for the same vectors, None if there is only what
        it gave: the codes int32 [N, L] of the items whose vectors now are float32 [N, D]. codebook_sizes: of the new
        fit; neither sizes nor number of levels need be the same.
        """
