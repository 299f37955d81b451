"""Vectors by partition in files without a name on the local disk; a part is some rows of one partition, and what is
read at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from fuseid.core.errors import NotReady
from fuseid.core.reasons import reason
from fuseid.pipelines.streams.block_files import read_at, write_at

# Rows of a part at most.
PART_ROWS = 8192
_COPIED_BYTES = 32 << 20


@dataclass(frozen=True)
class Rows:
    """places_N: uint32, of items in the order of content_id. vectors_ND: float32, of length one."""

    places_N: np.ndarray
    vectors_ND: np.ndarray


@dataclass(frozen=True)
class Parts:
    """Where the rows of each part are: starts_R: int64 [R + 1], the first row of each part, in the order of the file.
    partition_R: int64 [R]; partitions are numbered in the order of the file, too."""

    starts_R: np.ndarray
    partition_R: np.ndarray

    @classmethod
    def of(cls, sizes_P: np.ndarray) -> Parts:
        """sizes_P: int64, the rows of each partition. An empty partition has no part."""
        starts, partition, first = [0], [], 0
        for number, size in enumerate(sizes_P.tolist()):
            for begin in range(0, size, PART_ROWS):
                starts.append(first + min(begin + PART_ROWS, size))
                partition.append(number)
            first += size
        return cls(np.array(starts, np.int64), np.array(partition, np.int64))

    @property
    def count(self) -> int:
        return len(self.partition_R)

    @property
    def rows(self) -> int:
        return int(self.starts_R[-1])

    def of_partition(self, number: int) -> range:
        """The parts of a partition."""
        return range(*np.searchsorted(self.partition_R, [number, number + 1]).tolist())

    def groups(self, rows: int) -> list[range]:
        """Parts one after the other, in groups of at least so many rows, except for the last group."""
        found, first = [], 0
        for part in range(self.count):
            if self.starts_R[part + 1] - self.starts_R[first] >= rows or part + 1 == self.count:
                found.append(range(first, part + 1))
                first = part + 1
        return found


class RowFiles:
    """Takes rows in the order of their places, then reads them part by part.

    The files have no name, so that the kernel frees them with the process, however it ends. Their disk needs room for
    the vectors twice. Memory: 8 bytes for each partition and call of `add`.
    """

    def __init__(self, dim: int, folder: Path) -> None:
        self._dim = dim
        self._folder = folder
        self._files = [self._new(), self._new()]
        self._ends: list[np.ndarray] = []
        self._rows = 0
        self.parts = Parts.of(np.zeros(0, np.int64))

    def close(self) -> None:
        for file in self._files:
            file.close()

    def add(self, vectors_ND: np.ndarray, partition_N: np.ndarray, partitions: int) -> None:
        """vectors_ND: float32, of the next places. partition_N: int64. Raises NotReady if the disk is full."""
        order = np.argsort(partition_N, kind="stable")
        places = (self._rows + order).astype(np.uint32)
        self._write(self._files, places, np.ascontiguousarray(vectors_ND[order], np.float32), self._rows)
        self._ends.append(self._rows + np.cumsum(np.bincount(partition_N, minlength=partitions)))
        self._rows += len(vectors_ND)

    def finish(self, order_P: Sequence[int] | np.ndarray) -> None:
        """Puts the rows of each partition together, to be called once after the last `add`. order_P: the partitions in
        the order in which they are to be numbered. Raises NotReady if the disk is full."""
        ends = np.stack(self._ends)
        befores = np.concatenate([[0], ends[:-1, -1]])
        starts = np.concatenate([befores[:, None], ends[:, :-1]], axis=1)
        files, done = [self._new(), self._new()], 0
        most = max(1, _COPIED_BYTES // (4 * self._dim))
        for partition in order_P:
            held: list[Rows] = []
            for start, end in zip(starts[:, partition].tolist(), ends[:, partition].tolist(), strict=True):
                if start < end:
                    held.append(self._rows_at(start, end - start))
                if held and sum(len(rows.places_N) for rows in held) >= most:
                    done += self._copy(files, held, done)
            done += self._copy(files, held, done)
        self.close()
        self._files, self._ends = files, []
        self.parts = Parts.of((ends - starts).sum(0)[np.asarray(order_P)])

    def read(self, part: int) -> Rows:
        """The rows of a part, the lower places first. Threads may read at the same time."""
        first, end = self.parts.starts_R[part : part + 2].tolist()
        return self._rows_at(first, end - first)

    def row(self, row: int) -> Rows:
        """A single row, by its number in the order of the file."""
        return self._rows_at(row, 1)

    def _rows_at(self, first: int, count: int) -> Rows:
        places, vectors = np.empty(count, np.uint32), np.empty((count, self._dim), np.float32)
        read_at(self._files[0], places, 4 * first)
        read_at(self._files[1], vectors, 4 * self._dim * first)
        return Rows(places, vectors)

    def _copy(self, files: list[IO[bytes]], held: list[Rows], first: int) -> int:
        """Writes and forgets what is held -> the number of rows."""
        if not held:
            return 0
        places = np.concatenate([rows.places_N for rows in held])
        self._write(files, places, np.concatenate([rows.vectors_ND for rows in held]), first)
        held.clear()
        return len(places)

    def _write(self, files: list[IO[bytes]], places: np.ndarray, vectors: np.ndarray, first: int) -> None:
        try:
            write_at(files[0], places, 4 * first)
            write_at(files[1], vectors, 4 * self._dim * first)
        except OSError as error:
            raise no_room(self._folder, error) from None

    def _new(self) -> IO[bytes]:
        return new_file(self._folder)


def new_file(folder: Path) -> IO[bytes]:
    """A file without a name. Raises NotReady if the disk has no room for one."""
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise no_room(folder, error) from None


def no_room(folder: Path, error: OSError) -> NotReady:
    return NotReady(f"cannot write the vectors of neighbours to {folder}: {reason(error)}")
