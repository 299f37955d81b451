"""RQ-KMeans: residual quantization, one k-means codebook a level (Chen et al. 2010; QARM, Luo et al. 2024, 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuseid.core.artifacts import read_artifact, write_artifact
from fuseid.core.errors import BadInput
from fuseid.core.fingerprints import STEP_VERSIONS

# Rows per matrix product. One size always, the tail padded, so that a row's codes never depend on its neighbours.
_BLOCK = 1024


class RQKMeans:
    """Level l quantizes what levels before it left over; `codes[l]` is the nearest centroid of codebook l.

    meta carries `fusion` (the id of the fusion whose vectors it was fitted on, or None), config and metrics.
    """

    KIND = "rq-kmeans"

    def __init__(self, meta: dict[str, Any], codebooks: Sequence[np.ndarray], name: str = "") -> None:
        self.id = name
        self.meta = meta
        self.codebooks = [torch.from_numpy(np.ascontiguousarray(book, dtype=np.float32)) for book in codebooks]
        self.codebook_sizes = tuple(len(book) for book in self.codebooks)
        self.dim = int(self.codebooks[0].shape[1])
        self._half_norms = [book.square().sum(1) / 2 for book in self.codebooks]

    @classmethod
    def fit(
        cls,
        vectors_ND: np.ndarray,
        codebook_sizes: Sequence[int],
        *,
        iterations: int = 20,
        seed: int = 0,
        fusion: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RQKMeans:
        """Learns one codebook a level by Lloyd's algorithm from k-means++ seeds, dead codes restarted.

        vectors_ND: float32 [N, D], finite. progress is called with (levels done, levels).
        Raises BadInput for vectors that are not finite, and for fewer distinct vectors than codes at the first level.
        """
        vectors_ND = _checked(vectors_ND)
        distinct = len(np.unique(vectors_ND, axis=0)) if len(vectors_ND) < 100_000 else len(vectors_ND)
        if distinct < codebook_sizes[0]:
            raise BadInput(
                f"{distinct} distinct vectors cannot fill a codebook of {codebook_sizes[0]} codes; "
                f"ingest more items or set tokenizer.codebook_sizes to smaller ones"
            )
        residual = torch.from_numpy(vectors_ND).clone()
        variance = float((residual - residual.mean(0)).square().sum())
        generator = torch.Generator().manual_seed(seed)
        books: list[np.ndarray] = []
        r2_per_level = []
        utilisation = []
        for level, size in enumerate(codebook_sizes):
            book = _lloyd(residual, size, iterations, generator)
            codes = _nearest(residual, book, book.square().sum(1) / 2)
            residual -= book[codes]
            books.append(book.numpy())
            r2_per_level.append(1 - float(residual.square().sum()) / variance if variance > 0 else 1.0)
            utilisation.append(len(torch.unique(codes)) / size)
            if progress:
                progress(level + 1, len(codebook_sizes))
        meta = {
            "version": STEP_VERSIONS["rq-kmeans"],
            "codebook_sizes": [int(size) for size in codebook_sizes],
            "iterations": iterations,
            "seed": seed,
            "fusion": fusion,
            "metrics": {"sample": len(vectors_ND), "r2_per_level": r2_per_level, "utilisation_per_level": utilisation},
        }
        return cls(meta, books)

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L], greedy; ties go to the lower code. Raises BadInput for another D or NaN."""
        vectors_ND = _checked(vectors_ND)
        if vectors_ND.shape[1] != self.dim:
            raise BadInput(
                f"{self.id or 'this tokenizer'} quantizes vectors of {self.dim} numbers, got {vectors_ND.shape[1]}"
            )
        residual = torch.from_numpy(vectors_ND).clone()
        levels = []
        for book, half_norms in zip(self.codebooks, self._half_norms, strict=True):
            codes = _nearest(residual, book, half_norms)
            residual -= book[codes]
            levels.append(codes.to(torch.int32))
        return torch.stack(levels, 1).numpy()

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L (a prefix gives its coarse vector) -> float32 [N, D]."""
        codes = torch.from_numpy(np.asarray(codes_NL, dtype=np.int64))
        parts = [book[codes[:, level]] for level, book in enumerate(self.codebooks[: codes.shape[1]])]
        return torch.stack(parts).sum(0).numpy()

    def save(self, directory: Path) -> None:
        tensors = {f"codebook.{level}": book.numpy() for level, book in enumerate(self.codebooks)}
        self.id = write_artifact(directory, self.KIND, self.meta, tensors)

    @classmethod
    def load(cls, directory: Path) -> RQKMeans:
        name, meta, tensors = read_artifact(directory, cls.KIND)
        return cls(meta, [tensors[f"codebook.{level}"] for level in range(len(tensors))], name)


def _checked(vectors_ND: np.ndarray) -> np.ndarray:
    vectors_ND = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    if vectors_ND.ndim != 2 or not vectors_ND.size:
        raise BadInput(f"vectors must be [N, D] and not empty, got {list(vectors_ND.shape)}")
    if not np.isfinite(vectors_ND).all():
        raise BadInput("vectors hold NaN or infinite numbers; remove those rows")
    return vectors_ND


def _nearest(vectors: torch.Tensor, book: torch.Tensor, half_norms: torch.Tensor) -> torch.Tensor:
    """[N, D], [K, D], [K] -> int64 [N]: argmin of |x - c|^2, that is argmax of x.c - |c|^2 / 2."""
    codes = torch.empty(len(vectors), dtype=torch.int64)
    padded = torch.zeros(_BLOCK, vectors.shape[1])
    for start in range(0, len(vectors), _BLOCK):
        rows = vectors[start : start + _BLOCK]
        if len(rows) < _BLOCK:
            padded[: len(rows)] = rows
            block = padded
        else:
            block = rows
        codes[start : start + len(rows)] = (block @ book.T - half_norms).argmax(1)[: len(rows)]
    return codes


def _lloyd(vectors: torch.Tensor, size: int, iterations: int, generator: torch.Generator) -> torch.Tensor:
    book = _kmeans_plus_plus(vectors, size, generator)
    for _ in range(iterations):
        codes = _nearest(vectors, book, book.square().sum(1) / 2)
        counts = torch.bincount(codes, minlength=size)
        sums = torch.zeros_like(book).index_add_(0, codes, vectors)
        alive = counts > 0
        book = torch.where(alive[:, None], sums / counts.clamp(min=1)[:, None], book)
        dead = (~alive).nonzero().flatten()
        if len(dead):
            # A dead code restarts on a vector that its own code serves worst.
            error = (vectors - book[codes]).square().sum(1)
            worst = error.topk(min(len(dead), len(vectors))).indices
            book[dead[: len(worst)]] = vectors[worst]
    return book


def _kmeans_plus_plus(vectors: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """D^2 seeding (Arthur & Vassilvitskii 2007, sec. 2.2) on a sample of at most 64 vectors a code."""
    if len(vectors) > 64 * size:
        vectors = vectors[torch.randperm(len(vectors), generator=generator)[: 64 * size]]
    chosen = [int(torch.randint(len(vectors), (1,), generator=generator))]
    distance = (vectors - vectors[chosen[0]]).square().sum(1).double()
    for _ in range(size - 1):
        total = distance.cumsum(0)
        if total[-1] <= 0:
            chosen.append(int(torch.randint(len(vectors), (1,), generator=generator)))
            continue
        point = torch.rand(1, generator=generator, dtype=torch.float64) * total[-1]
        chosen.append(min(int(torch.searchsorted(total, point)), len(vectors) - 1))
        distance = torch.minimum(distance, (vectors - vectors[chosen[-1]]).square().sum(1).double())
    return vectors[chosen].clone()
