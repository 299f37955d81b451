"""Blocks of vectors in files without a name on the local disk: memory holds one block at a time while they are made,
and one chunk while they are read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import torch

from fuseid.core.errors import NotReady
from fuseid.core.reasons import reason
from fuseid.core.row_blocks import CHUNK


@dataclass(frozen=True)
class Piece:
    """Some rows on their way into blocks. numbers: int64 [N], the block of each row. hashes, ties: uint64 [N]; the rows
    of a block are ordered by them. vectors: float32 [N, D]. rows_read: how many rows of the table it was made from."""

    numbers_N: np.ndarray
    hashes_N: np.ndarray
    ties_N: np.ndarray
    vectors_ND: np.ndarray
    rows_read: int

    def where(self, chosen_N: np.ndarray, rows_read: int) -> Piece:
        """chosen: bool [N]."""
        numbers, hashes, ties = (part[chosen_N] for part in (self.numbers_N, self.hashes_N, self.ties_N))
        return Piece(numbers, hashes, ties, self.vectors_ND[chosen_N], rows_read)


class BlockFiles:
    """Takes pieces in any order, then sorts each block.

    The files have no name, so that the kernel frees them with the process, however it ends. Their disk needs room for
    the vectors twice.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._record = np.dtype([("hash", np.uint64), ("tie", np.uint64), ("vector", np.float32, (dim,))])
        self._unsorted: IO[bytes] = _file()
        self._sorted: IO[bytes] = _file()
        self._end = 0
        # Of each block: the places of its records, (offset in bytes, records).
        self._parts: dict[int, list[tuple[int, int]]] = {}

    def close(self) -> None:
        self._unsorted.close()
        self._sorted.close()

    def add(self, piece: Piece) -> None:
        """Raises NotReady if the disk is full."""
        order = np.argsort(piece.numbers_N, kind="stable")
        records = np.empty(len(order), self._record)
        records["hash"], records["tie"] = piece.hashes_N[order], piece.ties_N[order]
        records["vector"] = piece.vectors_ND[order]
        with _room():
            write_at(self._unsorted, records, self._end)
        numbers, counts = np.unique(piece.numbers_N, return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self._parts.setdefault(number, []).append((self._end, count))
            self._end += count * self._record.itemsize

    def finish(self, numbers: Iterable[int]) -> dict[int, FileBlock]:
        """The blocks of these numbers, those without a row among them, to be called once after the last `add`. Raises
        NotReady if the disk is full."""
        blocks, start = {}, 0
        for number in sorted(numbers):
            records = self._read(self._parts.get(number, []))
            order = np.lexsort((records["tie"], records["hash"]))
            with _room():
                write_at(self._sorted, np.ascontiguousarray(records["vector"][order]), start)
            blocks[number] = FileBlock(number, len(order), self._dim, self._sorted, start)
            start += blocks[number].bytes
        self._unsorted.close()
        self._parts.clear()
        return blocks

    def _read(self, parts: list[tuple[int, int]]) -> np.ndarray:
        records = np.empty(sum(count for _, count in parts), self._record)
        start = 0
        for offset, count in parts:
            read_at(self._unsorted, records[start : start + count], offset)
            start += count
        return records


@dataclass
class FileBlock:
    """See `core.row_blocks.Block`. file, offset: where its rows are."""

    number: int
    rows: int
    dim: int
    file: IO[bytes]
    offset: int
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return 4 * self.rows * self.dim

    def read(self, first: int = 0, count: int | None = None) -> np.ndarray:
        """float32 [n, D]: rows from `first` on."""
        end = self.rows if count is None else min(self.rows, first + count)
        rows_ND = np.empty((max(0, end - first), self.dim), np.float32)
        read_at(self.file, rows_ND, self.offset + 4 * self.dim * first)
        return rows_ND

    def take(self, numbers_B: np.ndarray) -> np.ndarray:
        """float32 [B, D]: the rows of these numbers. Reads, not a memory map: a process is not charged with the page
        cache, and a missing page holds up one thread, not all."""
        rows_BD = np.empty((len(numbers_B), self.dim), np.float32)
        for row, number in zip(rows_BD, numbers_B.tolist(), strict=True):
            read_at(self.file, row, self.offset + 4 * self.dim * number)
        return rows_BD

    def chunks(self) -> Iterator[torch.Tensor]:
        for first in range(0, self.rows, CHUNK):
            yield torch.from_numpy(self.read(first, CHUNK))


def _file() -> IO[bytes]:
    with _room():
        return tempfile.TemporaryFile(prefix="fuseid-fit-", buffering=0)


def write_at(file: IO[bytes], rows: np.ndarray, offset: int) -> None:
    """All of an array, from a byte on."""
    left = rows.reshape(-1).view(np.uint8).data
    while left:
        done = os.pwrite(file.fileno(), left, offset)
        left, offset = left[done:], offset + done


def read_at(file: IO[bytes], rows: np.ndarray, offset: int) -> None:
    """Fills an array from a byte on. Threads may read the same file: it has no position of its own."""
    left = rows.reshape(-1).view(np.uint8).data
    while left:
        done = os.preadv(file.fileno(), [left], offset)
        if not done:
            raise OSError(f"a file of vectors ends at byte {offset}")
        left, offset = left[done:], offset + done


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = tempfile.gettempdir()
        what = f"cannot write the vectors of a fit to {place}: {reason(error)}"
        raise NotReady(f"{what}; TMPDIR names a folder with more room") from None
