"""Adopted IDs: given by another system, kept as they are; with its codebooks new items get IDs too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fuseid.core.artifacts import (
    ADOPTED,
    ADOPTED_VERSION,
    artifact_id,
    check_version,
    read_artifact,
    without_codebooks,
    write_artifact,
)
from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.tokenizers.residual_codebooks import ResidualCodebooks


class Adopted:
    """The tokenizer of IDs that came from outside. It cannot be fitted, so it is no kind of the config.

    meta has `ids` (how many came, and the digest of them), `fusion` and `encodes`: whether the codebooks came with
    them. Without codebooks `dim` is 0, and `encode`, `decode` and `candidates` raise BadInput. The digest is part of
    the id: other IDs of the same codebooks are another tokenizer.
    """

    KIND: ClassVar[str] = ADOPTED

    def __init__(self, meta: dict[str, Any], codebooks: ResidualCodebooks | None) -> None:
        self.meta = meta
        self.codebook_sizes: tuple[int, ...] = tuple(meta["codebook_sizes"])
        self.dim = 0 if codebooks is None else codebooks.dim
        self._codebooks = codebooks
        self.id = artifact_id(self.KIND, meta, self._tensors())
        if codebooks is not None:
            codebooks.id = self.id

    @classmethod
    def of(
        cls,
        codebook_sizes: Sequence[int],
        ids: Mapping[str, Any],
        codebooks: Sequence[np.ndarray] | None = None,
        beam: int = 1,
        fusion: str | None = None,
    ) -> Adopted:
        """ids: `count` and `digest`. codebooks: float32 [K_l, D] for each level; fusion: whose vectors they quantize.
        beam: paths that encoding keeps, 1 is greedy."""
        meta: dict[str, Any] = {
            "version": ADOPTED_VERSION,
            "codebook_sizes": [int(size) for size in codebook_sizes],
            "encodes": codebooks is not None,
            "fusion": fusion,
            "ids": dict(ids),
            "metrics": {},
        }
        if codebooks is None:
            return cls(meta, None)
        return cls({**meta, "beam": beam}, _searched(codebooks, beam))

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L]; ties go to the lower code. Raises BadInput for another D or NaN."""
        return self._there().encode(vectors_ND)

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L (a prefix gives its coarse vector) -> float32 [N, D]."""
        return self._there().decode(codes_NL)

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As of `ResidualCodebooks`."""
        return self._there().candidates(vectors_ND, count)

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self._tensors())

    @classmethod
    def load(cls, directory: Path) -> Adopted:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        if not meta["encodes"]:
            return cls(meta, None)
        books = [tensors[f"codebook.{level}"] for level in range(len(meta["codebook_sizes"]))]
        return cls(meta, _searched(books, meta["beam"]))

    def _tensors(self) -> dict[str, np.ndarray]:
        return {} if self._codebooks is None else self._codebooks.tensors()

    def _there(self) -> ResidualCodebooks:
        if self._codebooks is None:
            raise BadInput(
                f"{without_codebooks(self.id)}, so it cannot encode or decode; adopt the IDs again with "
                f"{option('codebooks')}"
            )
        return self._codebooks


def _searched(books: Sequence[np.ndarray], beam: int) -> ResidualCodebooks:
    return ResidualCodebooks(books, [np.zeros(len(book), np.float32) for book in books], beam)
