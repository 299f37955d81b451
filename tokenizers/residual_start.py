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

from fuseid.core.row_blocks import ArrayBlocks, Blocks
from fuseid.tokenizers.block_codes import BeamCodes, GivenCodes, GreedyCodes
from fuseid.tokenizers.dead_codes import restarted
from fuseid.tokenizers.kmeans import FitLevel
from fuseid.tokenizers.least_squares import refined


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
        zeros = [torch.zeros(size, vectors_ND.shape[1]) for size in sizes]
        codes = GivenCodes(tuple(zeros), torch.from_numpy(codes_NL[inside].astype(np.int64)))
        books, _ = refined(ArrayBlocks(vectors_ND[inside].astype(np.float32)), codes, zeros)
        return cls([book.numpy() for book in books], [np.zeros(size, np.float32) for size in sizes])

    def books(
        self, fit_level: FitLevel, sizes: Sequence[int], balanced: bool, device: torch.device
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Codebooks and prices of all levels of the new fit.

        A smaller codebook has the first of the earlier codes. One that is larger, or `balanced` without earlier prices,
        is fitted by k-means from the earlier codes. A level that the start lacks, or that is both larger and balanced,
        is fitted by k-means without a start.
        """
        codes = GreedyCodes()
        for level, size in enumerate(sizes):
            found = self._level(level, size, balanced)
            if found is None:
                codes = codes.then(*fit_level(codes, size, None))
                continue
            book, price = (part.to(device) for part in found)
            if len(book) < size or (balanced and not price.any()):
                dead = book.new_zeros(size - len(book), book.shape[1])
                book, price = fit_level(codes, size, torch.cat([book, dead]))
            codes = codes.then(book, price)
        return list(codes.books), [price if balanced else torch.zeros_like(price) for price in codes.prices]

    def _level(self, level: int, size: int, balanced: bool) -> tuple[torch.Tensor, torch.Tensor] | None:
        if level >= len(self.codebooks) or (balanced and len(self.codebooks[level]) < size):
            return None
        return torch.from_numpy(self.codebooks[level])[:size], torch.from_numpy(self.prices[level])[:size]


def adapted(
    blocks: Blocks, books: list[torch.Tensor], prices: list[torch.Tensor], beam: int, rounds: int
) -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """Codebooks and prices after each round. After all rounds but the last, codes that no vector has take over part of
    the vectors of the codes with the largest error."""
    for step in range(rounds):
        codes = BeamCodes(tuple(books), tuple(prices), beam)
        books, counts = refined(blocks, codes, books)
        if counts.dead and step < rounds - 1:
            books = restarted(blocks, codes, books, counts.dead)
        yield books, prices
