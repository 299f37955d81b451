"""Codes without members take over part of the members of the codes with the largest error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.core.row_blocks import Block, Blocks
from fuseid.tokenizers.block_codes import BlockCodes, Tensors, left_by

_SHIFT = 0.3


@dataclass
class _Spread:
    """Of each code of one level: the error of its members, float64 [K]; the squared error of the worst one of them,
    float32 [K], -1 without members; and what is left of that one, float32 [K, D]."""

    errors: np.ndarray
    largest: np.ndarray
    farthest: np.ndarray

    def and_then(self, later: _Spread) -> _Spread:
        """Of these rows and later ones."""
        worse = later.largest > self.largest
        farthest = np.where(worse[:, None], later.farthest, self.farthest)
        return _Spread(self.errors + later.errors, np.maximum(self.largest, later.largest), farthest)


@dataclass(frozen=True)
class _Spreads:
    """The spread of each of `levels` in a block, where these codes are decoded by `books`."""

    codes: BlockCodes
    books: Tensors
    levels: tuple[int, ...]

    def __call__(self, block: Block) -> list[_Spread]:
        out = [
            (torch.zeros(len(book), dtype=torch.float64, device=book.device), book.new_full((len(book),), -1.0),
             torch.zeros_like(book))
            for book in (self.books[level] for level in self.levels)
        ]  # fmt: skip
        for left, codes in left_by(block, self.codes.codes(block), self.books):
            error = left.square().sum(1)
            rows = torch.arange(len(left), device=left.device)
            for level, (errors, largest, farthest) in zip(self.levels, out, strict=True):
                here = codes[:, level]
                errors.index_add_(0, here, error.double())
                worst = torch.full_like(largest, -1.0).scatter_reduce_(0, here, error, "amax")
                found = torch.where(error == worst[here], rows, len(left))  # the first of the worst
                at = torch.full_like(largest, len(left), dtype=torch.int64).scatter_reduce_(0, here, found, "amin")
                worse = worst > largest
                farthest[worse] = left[at[worse]]
                largest[worse] = worst[worse]
        return [_Spread(*(part.cpu().numpy() for part in parts)) for parts in out]


def restarted(
    blocks: Blocks, codes: BlockCodes, books: Sequence[torch.Tensor], counts: Mapping[int, np.ndarray]
) -> list[torch.Tensor]:
    """Splits the codes with the largest total error: a dead code and such a code move apart, to either side of where it
    was, by a share of the way to its farthest member.

    codes: with which `books` decode the vectors. counts: the members of each code, int64 [K], for each level that has
    dead codes.
    """
    total: list[_Spread] = []
    for found in blocks.map(_Spreads(codes, tuple(books), tuple(counts))):
        total = [one.and_then(later) for one, later in zip(total, found, strict=True)] if total else found
    out = list(books)
    for (level, members), spread in zip(counts.items(), total, strict=True):
        dead = np.flatnonzero(members == 0)
        worst = np.argsort(-spread.errors, kind="stable")[: len(dead)]
        worst = worst[members[worst] > 1]
        dead = dead[: len(worst)]
        move = _SHIFT * torch.from_numpy(spread.farthest[worst]).to(books[level].device)
        book = books[level].clone()
        book[dead] = book[worst] + move
        book[worst] -= move
        out[level] = book
    return out
