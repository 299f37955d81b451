"""Parts of a source of ready-made vectors: each is read by itself, on any machine, in Arrow batches with `content_id`,
`vector` and the columns of a manifest that the file has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, ItemError, NotReady, unusable
from fuseid.core.reasons import reason
from fuseid.pipelines.files.data_file import DataFile
from fuseid.pipelines.files.remote_uri import parse_remote
from fuseid.pipelines.sources.item import MANIFEST_COLUMNS

_ROWS, _BYTES = 1 << 14, 16 << 20
# How much of a column is read from a Parquet file at a time: a row group may be larger than memory.
_BUFFER = 4 << 20
_ID_CHARS = 1 << 20
# Of a vector in lists of any length, where the file does not say how many numbers it holds.
_USUAL_NUMBERS = 256


class VectorPart(Protocol):
    """`shown` names it in messages; `first` is the number of its first row in the file, from 0."""

    @property
    def shown(self) -> str: ...

    @property
    def first(self) -> int: ...

    @property
    def other_columns(self) -> tuple[str, ...]:
        """Columns that are not read."""

    def ids(self) -> Iterator[pa.Array]:
        """The column content_id alone."""

    def batches(self, most: int = _ROWS) -> Iterator[pa.RecordBatch]:
        """most: how many rows of a batch. Raises BadInput if the file cannot be read, or was written to since it was
        opened first."""


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Some row groups of a Parquet file, local or remote. rows, numbers: how many rows they have, and how many numbers
    the vectors of these have together. listed: the columns of a manifest that the file has. stat: of the file, when it
    was opened first."""

    shown: str
    column: str
    groups: tuple[int, ...]
    first: int
    rows: int
    numbers: int
    listed: tuple[str, ...]
    stat: str
    config: SourceConfig
    other_columns: tuple[str, ...] = ()

    def ids(self) -> Iterator[pa.Array]:
        return (batch["content_id"] for batch in self._read(["content_id"], 1 << 16))

    def batches(self, most: int = _ROWS) -> Iterator[pa.RecordBatch]:
        rows = batch_rows(self.numbers // max(1, self.rows), most)
        for batch in self._read([*self.listed, self.column], rows):
            yield batch.select([*self.listed, self.column]).rename_columns([*self.listed, "vector"])

    def _read(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        with opened(self.shown, self.config) as (file, stat), reading(self.shown):
            if stat != self.stat:
                raise NotReady(f"{self.shown} was written to while it was read; run again when it is complete")
            yield from file.iter_batches(rows, row_groups=list(self.groups), columns=columns)
            if local_stat(self.shown) not in (None, self.stat):
                raise NotReady(f"{self.shown} was written to while it was read; run again when it is complete")


@dataclass(frozen=True, slots=True)
class NpyPart:
    """An array of vectors [N, D] beside a text file of ids, one a line."""

    shown: str
    stat: str
    first: int = 0
    other_columns: tuple[str, ...] = ()

    def ids(self) -> Iterator[pa.Array]:
        return (ids for ids, _ in self._read(1 << 16))

    def batches(self, most: int = _ROWS) -> Iterator[pa.RecordBatch]:
        with reading(self.shown):
            rows = batch_rows(mapped(Path(self.shown)).shape[1], most)
        for ids, vectors_ND in self._read(rows):
            with np.errstate(over="ignore"):  # beyond float32 it becomes infinite, for which the row is rejected
                flat = np.ascontiguousarray(vectors_ND, np.float32).reshape(-1)
            yield pa.record_batch(
                [ids, pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors_ND.shape[1])],
                names=["content_id", "vector"],
            )

    def _read(self, rows: int) -> Iterator[tuple[pa.Array, np.ndarray]]:
        path = Path(self.shown)
        with reading(self.shown):
            self._check_unchanged(path)
            vectors_ND = mapped(path)
            ids_file = ids_of_npy(path)
            with DataFile(ids_file, "txt", str(ids_file)).lines(_ID_CHARS) as lines:
                for start in range(0, len(vectors_ND), rows):
                    part = vectors_ND[start : start + rows]
                    ids = [line.rstrip("\n") for line in islice(lines, len(part))]
                    if not all(ids):
                        raise BadInput(f"{ids_of_npy(path)}, line {start + ids.index('') + 1} is empty")
                    if len(ids) < len(part):
                        raise BadInput(
                            f"{ids_of_npy(path)} has fewer ids than the {len(vectors_ND)} rows of {path.name}"
                        )
                    yield pa.array(ids, pa.string()), part
                if any(line.strip() for line in lines):
                    raise BadInput(f"{ids_of_npy(path)} has more ids than the {len(vectors_ND)} rows of {path.name}")
            self._check_unchanged(path)

    def _check_unchanged(self, path: Path) -> None:
        if npy_stat(path) != self.stat:
            raise NotReady(f"{self.shown} was written to while it was read; run again when it is complete")


@dataclass(frozen=True, slots=True)
class LancePart:
    """A fragment of one version of a Lance dataset."""

    shown: str
    column: str
    uri: str
    version: int
    fragment: int
    first: int
    other_columns: tuple[str, ...] = ()

    def ids(self) -> Iterator[pa.Array]:
        return (batch["content_id"] for batch in self._read(["content_id"], 1 << 16))

    def batches(self, most: int = _ROWS) -> Iterator[pa.RecordBatch]:
        with reading(self.shown):
            schema = self._dataset().schema
            wanted = [name for name in MANIFEST_COLUMNS if name in schema.names]
            kind = schema.field(self.column).type
            numbers = kind.list_size if pa.types.is_fixed_size_list(kind) else _USUAL_NUMBERS
            for batch in self._read([*wanted, self.column], batch_rows(numbers, most)):
                yield batch.select([*wanted, self.column]).rename_columns([*wanted, "vector"])

    def _read(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        with reading(self.shown):
            dataset = self._dataset()
            fragment = dataset.get_fragment(self.fragment)
            yield from fragment.to_batches(columns=columns, batch_size=rows)

    def _dataset(self) -> Any:
        import lance

        return lance.dataset(self.uri, version=self.version)


def batch_rows(numbers: int, most: int) -> int:
    """How many rows are read at a time. numbers: of a vector."""
    return max(1, min(most, _BYTES // (4 * max(1, numbers))))


def mapped(path: Path) -> np.ndarray:
    """The array of a file, memory-mapped. Raises ValueError or OSError for a file that is damaged, or is no array."""
    try:
        with np.errstate(over="ignore"):
            return np.lib.format.open_memmap(path, mode="r")
    except (OverflowError, TypeError) as error:
        raise ValueError(f"its header is not valid: {reason(error)}") from None


def ids_of_npy(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def npy_stat(path: Path) -> str:
    return f"{local_stat(str(path))} {local_stat(str(ids_of_npy(path)))}"


def local_stat(path: str) -> str | None:
    """Size and time of a local file; None for a remote one."""
    if "://" in path:
        return None
    found = os.stat(path)
    return f"{found.st_size}-{found.st_mtime_ns}"


@contextmanager
def opened(shown: str, config: SourceConfig) -> Iterator[tuple[pq.ParquetFile, str]]:
    """A Parquet file, local or remote, and its stat. Raises BadInput if it cannot be opened."""
    with reading(shown):
        if "://" not in shown:
            with pq.ParquetFile(shown, buffer_size=_BUFFER, pre_buffer=False) as file:
                yield file, str(local_stat(shown))
            return
        from fuseid.pipelines.files.filesystems import Remote, stat_of_info

        uri = parse_remote(shown)
        with Remote(config) as remote:
            stat = stat_of_info(remote.info(uri))
            with remote.open(uri) as stream, pq.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False) as file:
                yield file, stat


@contextmanager
def reading(shown: str) -> Iterator[None]:
    """Inside, an error of a library about the file becomes a BadInput or NotReady that names it."""
    try:
        yield
    except (ItemError, OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise unusable(f"cannot read vectors {shown}: {reason(error)}", error) from None
