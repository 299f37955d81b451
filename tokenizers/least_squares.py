"""The codebooks that decode given codes best, all levels together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.core.parallel_blocks import on_one_core
from fuseid.core.row_blocks import Block, Blocks
from fuseid.tokenizers.block_codes import BlockCodes
from fuseid.tokenizers.code_counts import CodeCounts

# How strongly a code is held where it is, in members. It keeps codes without members.
_PULL = 0.01


@dataclass(frozen=True)
class _Products:
    """The one-hot codes of a block, multiplied by each other and by the vectors. The first are counts of pairs of
    codes, sent as numbers of pairs, int64 [P], ascending, and their counts; the second are float64 [S, D], S the sum of
    the sizes."""

    codes: BlockCodes

    def __call__(self, block: Block) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        books = self.codes.books
        sizes = [len(book) for book in books]
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        at_NL = self.codes.codes(block) + starts
        part = books[0].new_zeros(sum(sizes), books[0].shape[1])
        sums = torch.zeros_like(part, dtype=torch.float64)
        row = 0
        for chunk in block.chunks():
            rows = chunk.to(part.device)
            for at in at_NL[row : row + len(rows)].to(part.device).T:
                part.index_add_(0, at, rows)
            row += len(rows)
            sums += part
            part.zero_()
        levels = range(len(books))
        pairs = [at_NL[:, one] * sum(sizes) + at_NL[:, other] for one in levels for other in levels[one:]]
        numbers, counts = torch.cat(pairs).unique(return_counts=True)
        return numbers.numpy(), counts.numpy(), sums.cpu().numpy()


def refined(blocks: Blocks, codes: BlockCodes, books: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], CodeCounts]:
    """Least squares on the one-hot codes, regularised by a pull towards `books`, [K_l, D] (Babenko and Lempitsky 2014,
    sec. 3.1); and how often the codes are used."""
    sizes = [len(book) for book in books]
    together = np.zeros((sum(sizes), sum(sizes)))
    sums = np.zeros((sum(sizes), blocks.dim))
    for numbers, pairs, products in blocks.map(_Products(codes)):
        together.reshape(-1)[numbers] += pairs
        sums += products
    counts = CodeCounts.joined(together, sizes)
    upper = torch.from_numpy(together)
    matrix = upper + upper.triu(1).T
    matrix.diagonal().add_(_PULL)
    right = torch.from_numpy(sums) + _PULL * torch.cat(list(books)).double().cpu()
    solved = on_one_core(lambda: torch.linalg.solve(matrix, right)).float().to(books[0].device)
    return [part.contiguous() for part in solved.split(sizes)], counts
