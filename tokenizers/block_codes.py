"""The codes of a block's vectors under residual codebooks; the block's memo keeps them while codebooks are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from typing import Any, Protocol

import torch

from fuseid.core.row_blocks import Block, rows_per_block
from fuseid.tokenizers.nearest_code import BLOCK, NearestCode
from fuseid.tokenizers.residual_search import ResidualSearch

Tensors = tuple[torch.Tensor, ...]


class BlockCodes(Protocol):
    """Finds codes; can be pickled. books: float32 [K_l, D] of each level, on the device that computes."""

    @property
    def books(self) -> Tensors: ...

    def codes(self, block: Block) -> torch.Tensor:
        """int32 [n, L] of all rows of the block, on the CPU."""


@dataclass(frozen=True)
class GreedyCodes:
    """Each level takes the nearest code of what the levels before it leave. prices: float32 [K_l]. keys: of the first
    codebooks, of the first two, and so on, made of their content."""

    books: Tensors = ()
    prices: Tensors = ()
    keys: tuple[str, ...] = ()

    def then(self, book: torch.Tensor, prices: torch.Tensor) -> GreedyCodes:
        """With one more level."""
        key = _key(self.keys[-1:], (book, prices))
        return GreedyCodes((*self.books, book), (*self.prices, prices), (*self.keys, key))

    @cached_property
    def before(self) -> GreedyCodes:
        """Without the last level."""
        return GreedyCodes(self.books[:-1], self.prices[:-1], self.keys[:-1])

    def codes(self, block: Block) -> torch.Tensor:
        if not self.books:
            return torch.zeros(block.rows, 0, dtype=torch.int32)
        if block.memo.get(self._slot, ("",))[0] != self.keys[-1]:
            for _ in self.last_level(block):
                pass
        return torch.cat([self.before.codes(block), block.memo[self._slot][1][:, None]], dim=1)

    def last_level(self, block: Block) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Part after part: what the levels before the last one leave, float32 [n, D], and its codes, int64 [n]."""
        found = []
        for left, _ in self.before.left(block):
            left = left.to(self.books[-1].device)
            codes = self._search(left)
            found.append(codes.to("cpu", torch.int32))
            yield left, codes
        block.memo[self._slot] = self.keys[-1], torch.cat(found)

    def left(self, block: Block) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Part after part of at most `BLOCK` rows: what all levels leave, float32 [n, D], and the codes, int64
        [n, L]."""
        return left_by(block, self.codes(block), self.books)

    @cached_property
    def _search(self) -> NearestCode:
        return NearestCode(self.books[-1], self.prices[-1])

    @property
    def _slot(self) -> str:
        return f"codes of level {len(self.books)}"

    def __getstate__(self) -> dict[str, Any]:
        return _fields(self)


@dataclass(frozen=True)
class BeamCodes:
    """A beam search over all levels; see `residual_search`, also for `pairs`."""

    books: Tensors
    prices: Tensors
    beam: int
    pairs: Tensors = ()
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _key([str(self.beam)], (*self.books, *self.prices, *self.pairs)))

    def codes(self, block: Block) -> torch.Tensor:
        return kept_codes(block, self.key, lambda rows: self._search.codes(rows, self.beam), self.books[0].device)

    @cached_property
    def _search(self) -> ResidualSearch:
        return ResidualSearch(self.books, self.prices, self.pairs)

    def __getstate__(self) -> dict[str, Any]:
        return _fields(self)


def kept_codes(
    block: Block, key: str, find: Callable[[torch.Tensor], torch.Tensor], device: torch.device
) -> torch.Tensor:
    """int32 [n, L]: what `find` gives for all rows of the block, on the CPU. The memo keeps the codes of the last
    key."""
    kept = block.memo.get("codes by key", ("",))
    if kept[0] != key:
        found = torch.cat([find(chunk.to(device)) for chunk in block.chunks()])
        kept = block.memo["codes by key"] = key, found.to("cpu", torch.int32)
    codes: torch.Tensor = kept[1]
    return codes


@dataclass(frozen=True)
class GivenCodes:
    """Codes int64 [N, L] of the rows of an `ArrayBlocks`."""

    books: Tensors
    codes_NL: torch.Tensor

    def codes(self, block: Block) -> torch.Tensor:
        start = block.number * rows_per_block(len(self.codes_NL))
        return self.codes_NL[start : start + block.rows].int()


def left_by(
    block: Block, codes_NL: torch.Tensor, books: Sequence[torch.Tensor]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Part after part of at most `BLOCK` rows: vectors less the sum of their codes' centroids, float32 [n, D]; and
    their codes, int64 [n, L]. Parts are as large as a core's cache can hold."""
    device = books[0].device if books else None
    joined, starts = (torch.cat(list(books)), _starts(books)) if books else (None, torch.zeros(0))
    row = 0
    for chunk in block.chunks():
        for rows in chunk.split(BLOCK):
            codes = codes_NL[row : row + len(rows)].to(device, torch.int64)
            row += len(rows)
            if joined is None:
                yield rows, codes
                continue
            decoded = torch.nn.functional.embedding_bag(codes + starts, joined, mode="sum")
            yield torch.sub(rows.to(device), decoded, out=decoded), codes


def _starts(books: Sequence[torch.Tensor]) -> torch.Tensor:
    """int64 [L]: where the rows of each codebook begin, if all are joined."""
    return torch.tensor([0, *(len(book) for book in books[:-1])], device=books[0].device).cumsum(0)


def _fields(work: GreedyCodes | BeamCodes) -> dict[str, Any]:
    """What is sent to other processes: not what they can compute from it."""
    return {each.name: getattr(work, each.name) for each in fields(work)}


def _key(before: Sequence[str], tensors: Sequence[torch.Tensor]) -> str:
    digest = blake2b("".join(before).encode(), digest_size=16)
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
