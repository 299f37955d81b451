"""What a format is told of the IDs before it sees the first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """codebook_sizes: of each level; items: how many will come; largest_suffix: 0 where no item has one."""

    codebook_sizes: tuple[int, ...]
    items: int
    largest_suffix: int
    tokenizer_id: str

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes)
