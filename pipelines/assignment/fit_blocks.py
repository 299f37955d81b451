"""The rows of a fit as blocks: a runner loads them; the local one is here, the one on Ray is in `ray_jobs.fit`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from fuseid.core.faults import reached
from fuseid.core.parallel_blocks import on_all_cores
from fuseid.core.row_blocks import Block, Blocks, BlockWork
from fuseid.pipelines.assignment.fit_rows import FitRows
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.streams.block_files import BlockFiles, FileBlock

T = TypeVar("T")


class FitBlocks(Blocks, Protocol):
    """Blocks with the rows that are held out, on which nothing may be fitted."""

    def held_out(self) -> np.ndarray:
        """float32 [M, D]."""


class FitRunner(Protocol):
    """Loads the rows of a fit into blocks, which exist until the context ends."""

    name: str

    def blocks(self, rows: FitRows, progress: Progress) -> AbstractContextManager[FitBlocks]: ...


class FileBlocks:
    """Blocks in files of this process; see `core.row_blocks.Blocks`. The last of `blocks` has what is held out."""

    def __init__(self, blocks: Mapping[int, FileBlock], dim: int) -> None:
        self.dim = dim
        self.count = len(blocks) - 1
        self._blocks = [blocks[number] for number in range(self.count)]
        self._held_out = blocks[self.count]
        self.rows = sum(block.rows for block in self._blocks)

    def map(self, work: BlockWork[T]) -> Iterator[T]:
        return on_all_cores(partial(worked, work), self._blocks)

    def read(self, number: int) -> np.ndarray:
        return self._blocks[number].read()

    def take(self, numbers_B: np.ndarray) -> np.ndarray:
        """float32 [B, D]: rows by their numbers among those of all blocks, which lie one after another."""
        return replace(self._blocks[0], rows=self.rows).take(numbers_B)

    def sample(self, rows: int) -> np.ndarray:
        return first_rows(self, rows)

    def held_out(self) -> np.ndarray:
        return self._held_out.read()


class LocalFitRunner:
    """Blocks in files of this process, worked on by its threads."""

    name = "local"

    @contextmanager
    def blocks(self, rows: FitRows, progress: Progress) -> Iterator[FileBlocks]:
        progress.begin("read", rows.to_read)
        files = BlockFiles(rows.vectors.dim)
        try:
            for piece in on_all_cores(rows.read, range(rows.parts)):
                files.add(piece)
                progress.advance("read", piece.rows_read)
            yield FileBlocks(files.finish(range(rows.count + 1)), rows.vectors.dim)
        finally:
            files.close()


def worked(work: BlockWork[T], block: Block) -> T:
    """The result of a block's work."""
    result = work(block)
    reached("fit.block")
    return result


def first_rows(blocks: Blocks, rows: int) -> np.ndarray:
    """float32 [min(rows, N), D]: the first rows. Their order is that of a hash, so they are a random sample."""
    parts, have = [np.empty((0, blocks.dim), np.float32)], 0
    for number in range(blocks.count):
        if have >= rows:
            break
        parts.append(blocks.read(number)[: rows - have])
        have += len(parts[-1])
    return np.concatenate(parts)
