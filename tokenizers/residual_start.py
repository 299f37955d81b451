"""The start of a later fit of residual codebooks: the earlier codebooks, or their like in another space, and the rounds
that adapt them to new vectors without giving most items other codes.

Each round encodes the vectors and fits all codebooks together to the codes. Measured against k-means level by level
from the same start, it keeps more codes at equal R^2: docs/benchmarks/refit.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.tokenizers.kmeans import kmeans, nearest, restart_dead
from fuseid.tokenizers.residual_search import ResidualSearch, refine


@dataclass(frozen=True)
class ResidualStart:
    """codebooks: float32 [K_l, D] of each level, prices: float32 [K_l]. The sizes and the number of levels may differ
    from those of the fit."""

    codebooks: Sequence[np.ndarray]
    prices: Sequence[np.ndarray]

    @classmethod
    def from_codes(
        cls, vectors_ND: np.ndarray, codes_NL: np.ndarray, codebook_sizes: Sequence[int]
    ) -> ResidualStart | None:
        """The codebooks that decode the earlier codes of N items best to their vectors in the space of the new fit.

        Items with a code outside `codebook_sizes` are left out; None if that leaves none. Levels are as many as both
        have. A code without items decodes to zeros until the fit gives it some.
        """
        sizes = list(codebook_sizes)[: codes_NL.shape[1]]
        codes_NL = codes_NL[:, : len(sizes)]
        inside = (codes_NL < sizes).all(1)
        if not inside.any():
            return None
        vectors = torch.from_numpy(np.ascontiguousarray(vectors_ND[inside], dtype=np.float32))
        zeros = [torch.zeros(size, vectors.shape[1]) for size in sizes]
        books = refine(vectors, torch.from_numpy(codes_NL[inside].astype(np.int64)), zeros)
        return cls([book.numpy() for book in books], [np.zeros(size, np.float32) for size in sizes])

    def books(
        self, vectors: torch.Tensor, sizes: Sequence[int], iterations: int, generator: torch.Generator, balanced: bool
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Codebooks and prices of all levels of the new fit.

        A smaller codebook has the first of the earlier codes. One that is larger, or `balanced` without earlier prices,
        is fitted by k-means from the earlier codes. A level that the start lacks, or that is both larger and balanced,
        is fitted by k-means without a start.
        """
        books: list[torch.Tensor] = []
        prices: list[torch.Tensor] = []
        residual = vectors.clone()
        for level, size in enumerate(sizes):
            found = self._level(level, size, balanced)
            if found is None:
                book, price = kmeans(residual, size, iterations, generator, balanced)
            else:
                book, price = (part.to(vectors.device) for part in found)
                if len(book) < size or (balanced and not price.any()):
                    dead = book.new_zeros(size - len(book), book.shape[1])
                    book, price = kmeans(residual, size, iterations, generator, balanced, torch.cat([book, dead]))
            residual -= book[nearest(residual, book, price)]
            books.append(book)
            prices.append(price if balanced else torch.zeros_like(price))
        return books, prices

    def _level(self, level: int, size: int, balanced: bool) -> tuple[torch.Tensor, torch.Tensor] | None:
        if level >= len(self.codebooks) or (balanced and len(self.codebooks[level]) < size):
            return None
        return torch.from_numpy(self.codebooks[level])[:size], torch.from_numpy(self.prices[level])[:size]


def adapted(
    vectors: torch.Tensor, books: list[torch.Tensor], prices: list[torch.Tensor], beam: int, rounds: int
) -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """Codebooks and prices after each round. After all rounds but the last, codes that no vector has take over part of
    the vectors of the codes with the largest error."""
    for step in range(rounds):
        codes = ResidualSearch(books, prices).codes(vectors, beam)
        books = refine(vectors, codes, books)
        if step < rounds - 1:
            left = vectors.clone()
            for level, book in enumerate(books):
                left -= book[codes[:, level]]
            for level, book in enumerate(books):
                counts = torch.bincount(codes[:, level], minlength=len(book))
                if not counts.all():
                    restart_dead(book, left + book[codes[:, level]], codes[:, level], counts)
        yield books, prices
