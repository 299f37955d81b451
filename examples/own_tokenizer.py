"""Your own tokenizer: a class, a section of the configuration, and one call that registers both.

    python examples/own_tokenizer.py OUT [PICTURES]

This one is product quantization (Jégou et al. 2011): the numbers of a vector are cut into as many parts as an ID has
codes, and each part has a codebook of its own. Once it is registered, every job and every export takes it like the kind
that fuseid has. A program registers it before it opens such a database; one that calls `fuseid.apps.cli.main()` after
that is a `fuseid` command with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from fuseid.api import Catalog, Config, fit, ingest, open_tokenizer
from fuseid.core.artifacts import artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.config import TokenizerConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.tokenizers.registry import register

SAMPLE = Path(__file__).parent.parent / "assets" / "sample" / "images"


class ProductConfig(TokenizerConfig):
    """The section `tokenizer` of the configuration where its kind is `product`: keys beside those of every kind, each
    an argument of `fit`."""

    VERSION = 1  # raise it when the same vectors would get other codes; tokenizers of earlier versions are then refused

    kind: Literal["product"] = "product"
    iterations: int = Field(10, ge=1, description="of k-means, per part")


class ProductQuantizer:
    KIND: ClassVar[str] = "product"

    def __init__(self, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """meta and tensors are all that there is to it, so they are what is saved and what the id is a hash of."""
        self.meta = meta
        self.id = artifact_id(self.KIND, meta, tensors)
        self.codebook_sizes = tuple(meta["codebook_sizes"])
        self.dim = len(tensors["mean"])
        self._tensors = tensors
        self._parts = _parts(self.dim, len(self.codebook_sizes))
        self._books = [tensors[f"codebook.{level}"] for level in range(len(self._parts))]

    @classmethod
    def fit(
        cls,
        vectors_ND: np.ndarray,
        codebook_sizes: Sequence[int],
        *,
        iterations: int,
        seed: int,
        fusion: str | None,
        progress: Callable[[int, int], None],
    ) -> ProductQuantizer:
        """vectors_ND: float32 [N, D], all in memory. A class with `FITS_BLOCKS = True` gets them as
        `core.row_blocks.Blocks`, of any number."""
        _check(vectors_ND)
        if len(np.unique(vectors_ND, axis=0)) < max(codebook_sizes):
            raise NotReady(f"{len(vectors_ND)} vectors cannot fill a codebook of {max(codebook_sizes)} codes")
        progress(0, len(codebook_sizes))
        generator = np.random.default_rng(seed)
        tensors = {"mean": vectors_ND.mean(0)}
        for level, part in enumerate(_parts(vectors_ND.shape[1], len(codebook_sizes))):
            tensors[f"codebook.{level}"] = _kmeans(vectors_ND[:, part], codebook_sizes[level], iterations, generator)
            progress(level + 1, len(codebook_sizes))
        meta = {
            "version": ProductConfig.VERSION,
            "codebook_sizes": list(codebook_sizes),
            "iterations": iterations,
            "seed": seed,
            "fusion": fusion,
            "metrics": {},  # no part of the id
        }
        fitted = cls(meta, tensors)
        codes_NL = fitted.encode(vectors_ND)
        total = np.square(vectors_ND - tensors["mean"]).sum()
        left = [
            np.square(vectors_ND - fitted.decode(codes_NL[:, :length])).sum()
            for length in range(1, len(codebook_sizes) + 1)
        ]
        meta["metrics"]["r2_per_level"] = [float(1 - error / total) for error in left]
        return fitted

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L]."""
        return np.stack([errors_NK.argmin(1) for errors_NK in self._errors(vectors_ND)], axis=1).astype(np.int32)

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L -> float32 [N, D]; parts without a code are at the mean."""
        out_ND = np.repeat(self._tensors["mean"][None], len(codes_NL), axis=0)
        for level in range(codes_NL.shape[1]):
            out_ND[:, self._parts[level]] = self._books[level][codes_NL[:, level]]
        return out_ND

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] -> (codes int32 [N, C, L], squared errors float32 [N, C]), smallest error first.

        The errors of the parts add up, so the best `count` of each length begin with some of the best `count` before.
        """
        codes_NCL = np.zeros((len(vectors_ND), 1, 0), np.int32)
        errors_NC = np.zeros((len(vectors_ND), 1), np.float32)
        for errors_NK in self._errors(vectors_ND):
            sums_NX = (errors_NC[:, :, None] + errors_NK[:, None]).reshape(len(vectors_ND), -1)
            order_NC = np.argsort(sums_NX, axis=1, kind="stable")[:, :count]
            before, code = np.divmod(order_NC[..., None], errors_NK.shape[1])
            codes_NCL = np.concatenate([np.take_along_axis(codes_NCL, before, axis=1), code], axis=2)
            errors_NC = np.take_along_axis(sums_NX, order_NC, axis=1)
        return codes_NCL.astype(np.int32), errors_NC

    def permuted(self, numbers: Sequence[np.ndarray], aligned_to: dict[str, Any]) -> ProductQuantizer:
        """Code k of level l gets the number numbers[l][k]. Optional: a later fit then keeps codes of the champion."""
        books = {f"codebook.{level}": book[np.argsort(numbers[level])] for level, book in enumerate(self._books)}
        return ProductQuantizer({**self.meta, "aligned_to": aligned_to}, self._tensors | books)

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self._tensors)

    @classmethod
    def load(cls, directory: Path) -> ProductQuantizer:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        return cls(meta, tensors)

    def _errors(self, vectors_ND: np.ndarray) -> list[np.ndarray]:
        """float32 [N, K] for each part: the squared distance to each of its codes."""
        _check(vectors_ND)
        if vectors_ND.shape[1] != self.dim:
            raise BadInput(f"{self.id} quantizes vectors of {self.dim} numbers, got {vectors_ND.shape[1]}")
        return [_distances(vectors_ND[:, part], book) for part, book in zip(self._parts, self._books, strict=True)]


def _parts(dim: int, count: int) -> list[np.ndarray]:
    return np.array_split(np.arange(dim), count)


def _check(vectors_ND: np.ndarray) -> None:
    if not np.isfinite(vectors_ND).all():
        raise BadInput("vectors hold NaN or infinite numbers; remove those rows")


def _distances(rows_NP: np.ndarray, book_KP: np.ndarray) -> np.ndarray:
    return np.square(rows_NP[:, None] - book_KP).sum(2)


def _kmeans(rows_NP: np.ndarray, size: int, iterations: int, generator: np.random.Generator) -> np.ndarray:
    book_KP = rows_NP[generator.choice(len(rows_NP), size, replace=False)]
    for _ in range(iterations):
        codes_N = _distances(rows_NP, book_KP).argmin(1)
        for code in np.unique(codes_N):
            book_KP[code] = rows_NP[codes_N == code].mean(0)
    return book_KP


def main(out: Path, pictures: Path = SAMPLE) -> None:
    register(ProductQuantizer, ProductConfig)
    sizes = [16, 8, 8]
    config = Config.model_validate({"tokenizer": {"kind": "product", "codebook_sizes": sizes, "iterations": 20}})
    ingest(out / "db", pictures, config)
    print(*fit(out / "db", config).notes, sep="\n")

    # A database may have tokenizers of several kinds. The first is its champion until another one is promoted.
    print(*fit(out / "db", Config.model_validate({"tokenizer": {"codebook_sizes": sizes}})).notes, sep="\n")

    tokenizer = open_tokenizer(out / "db")
    names = sorted(path.name for path in pictures.iterdir())[:3]
    for row in Catalog.open(out / "db").items(names, ["content_id", "sid", "fused"]):
        (codes,) = tokenizer.encode(np.array([row["fused"]], np.float32)).tolist()
        print(f"{row['content_id']}: {row['sid']}, encoded again: {codes}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
