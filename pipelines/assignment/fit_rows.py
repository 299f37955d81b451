"""The rows that a fit reads: which ones, their vectors, and their blocks, all by hashes of content_id, so that neither
the order of commits nor who reads which part of the table makes a difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import lance
import numpy as np
import pyarrow as pa

from fuseid.core.errors import NotReady
from fuseid.core.faults import reached
from fuseid.core.modalities import FUSED, FUSED_OTHER
from fuseid.core.row_blocks import rows_per_block
from fuseid.core.surface import command
from fuseid.pipelines.store.generations import fingerprint, generations
from fuseid.pipelines.store.hash_order import content_hashes, lowest
from fuseid.pipelines.store.rows import READ_AHEAD_BYTES, table_by_row
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import nan_rows
from fuseid.pipelines.streams.block_files import Piece

if TYPE_CHECKING:
    from fuseid.encoders.fusion import Fusion

Sample = int | Literal["all"]
_HASHES = 1 << 64
_HELD_OUT, _LEFT_PER_CODE = 20_000, 10
# Personalises the hash that says which rows are held out: the same ones for tokenizers of any seed and kind.
_HELD = b"held" + bytes(12)
# Of the vectors in one part of the table.
_PART_BYTES, _LEAST_PART, _MOST_PART = 8 << 20, 1024, 1 << 16
_PICKED_PART = 10_000


class Vectors(Protocol):
    """What a fit makes of rows of the table. dim: of its vectors."""

    @property
    def columns(self) -> list[str]:
        """The columns that it needs."""

    @property
    def dim(self) -> int: ...

    def __call__(self, rows: pa.Table) -> np.ndarray:
        """-> float32 [N, dim], a row of NaN where there is no vector."""


@dataclass(frozen=True)
class Joined:
    """The vectors of several modalities side by side, NaN where an item lacks one. dims: of each."""

    dims: Mapping[str, int]

    @property
    def columns(self) -> list[str]:
        return list(self.dims)

    @property
    def dim(self) -> int:
        return sum(self.dims.values())

    def __call__(self, rows: pa.Table) -> np.ndarray:
        return np.concatenate([nan_rows(rows[name], size) for name, size in self.dims.items()], axis=1)


@dataclass(frozen=True)
class Fused:
    """The fused vectors of the modalities that the table has."""

    fusion: Fusion
    columns: list[str]

    @property
    def dim(self) -> int:
        return self.fusion.dim

    def __call__(self, rows: pa.Table) -> np.ndarray:
        return self.fusion.transform({name: nan_rows(rows[name], self.fusion.dims[name]) for name in self.columns})


@dataclass(frozen=True)
class FitRows:
    """uri, version: of the table. vectors: what its rows become. where: the rows that have a vector. total: how many
    are sampled. below: their hashes are below this. held_below: those whose other hash is below this are held out.
    picked: the row ids of the sample, None to read the whole table."""

    uri: str
    version: int
    vectors: Vectors
    where: str
    total: int
    below: int
    held_below: int
    picked: np.ndarray | None

    @classmethod
    def of(cls, store: Store, sample: Sample, vectors: Vectors, where: str, least_left: int | None = None) -> FitRows:
        """sample: how many rows, those with the lowest hashes. least_left: hold out a tenth of them, at most 20,000, if
        at least so many are left; None to hold out nothing. Raises NotReady if no row fulfils the condition."""
        contents = store.dataset("contents")
        total = contents.count_rows(where)
        if not total:
            more = command("ingest", store.uri, "SOURCE")
            raise NotReady(f"no item in {store.uri} has a vector to fit on; {more} adds some")
        below, picked = _HASHES, None
        if sample != "all" and sample < total:
            chosen, total = lowest(contents, sample, where), sample
            below = chosen["hash"][-1].as_py() + 1
            picked = np.sort(chosen["row"].to_numpy())
        held = min(total // 10, _HELD_OUT)
        if least_left is None or total - held < least_left:
            held = 0
        return cls(store.uri, contents.version, vectors, where, total, below, held * _HASHES // total, picked)

    @classmethod
    def picked_rows(cls, store: Store, vectors: Vectors, where: str, row_ids: np.ndarray) -> FitRows:
        """The rows of these ids, ascending; all fulfil the condition, and none is held out."""
        version = store.dataset("contents").version
        return cls(store.uri, version, vectors, where, len(row_ids), _HASHES, 0, row_ids)

    @property
    def count(self) -> int:
        """The number of blocks; the rows that are held out are in one more."""
        return -(-self.total // rows_per_block(self.total))

    @property
    def to_read(self) -> int:
        """How many rows of the table all parts together have."""
        return self.contents.count_rows() if self.picked is None else len(self.picked)

    @property
    def parts(self) -> int:
        """The number of parts of the table that can be read one by one."""
        return -(-self.to_read // (self._part_rows if self.picked is None else _PICKED_PART))

    def read(self, part: int) -> Piece:
        """The rows of a part of the table."""
        columns = ["content_id", *self.vectors.columns]
        if self.picked is not None:
            ids = self.picked[part * _PICKED_PART : (part + 1) * _PICKED_PART]
            rows = table_by_row(self.contents, ids.tolist(), columns)
        else:
            size = self._part_rows
            scanner = self.contents.scanner(
                columns=columns, offset=part * size, limit=size, io_buffer_size=READ_AHEAD_BYTES
            )
            rows = scanner.to_table()
        reached("fit.read")
        vectors_ND = self.vectors(rows)
        there = ~np.isnan(vectors_ND).all(1)
        ids = rows["content_id"].filter(pa.array(there))
        hashes, ties = content_hashes(ids), self._other_hashes(ids)
        numbers = np.searchsorted(self._starts, hashes, side="right") - 1
        numbers[ties < self.held_below] = self.count
        return Piece(numbers, hashes, ties, vectors_ND[there], len(rows))

    def first_ids(self, rows: int) -> pa.Array:
        """The content_ids of the first rows in the order of the blocks, string [min(rows, N)]."""

        def fitted(ids: pa.Array) -> np.ndarray:
            return self._other_hashes(ids) >= self.held_below

        found = lowest(self.contents, min(rows, self.total), self.where, fitted)
        found = found.filter(found["hash"].to_numpy() < self.below)
        return found["content_id"].take(self.order(found["content_id"])).combine_chunks()

    def order(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """int64 [N]: the places of content_ids, in the order that their rows have in the blocks."""
        return np.lexsort((self._other_hashes(ids), content_hashes(ids)))

    @cached_property
    def contents(self) -> lance.LanceDataset:
        """The table, at its version."""
        return Store.open(self.uri).dataset("contents").checkout_version(self.version)

    @cached_property
    def _part_rows(self) -> int:
        types = [self.contents.schema.field(name).type for name in self.vectors.columns]
        width = sum(getattr(each, "list_size", 0) for each in types)
        return min(_MOST_PART, max(_LEAST_PART, _PART_BYTES // (4 * max(1, width))))

    @cached_property
    def _starts(self) -> np.ndarray:
        """uint64 [count]: the lowest hash of each block, whose number is floor(hash * count / below)."""
        return np.array([-(-number * self.below // self.count) for number in range(self.count)], np.uint64)

    def _other_hashes(self, ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
        return content_hashes(ids, _HELD)


def rows_of_tokenizer(store: Store, fusion: Fusion, sample: Sample, codes: int) -> FitRows:
    """The rows that a tokenizer is fitted on, by fused vectors; some are held out if ten for each of `codes` are left.

    The vectors that the store holds are read where every row has them: they have the bits that fusing again would give.
    """
    used = [name for name in fusion.dims if name in store.dims()]
    vectors, where = Fused(fusion, used), any_of(used)
    least = _LEFT_PER_CODE * codes
    if (column := _stored_column(store, fusion.id)) is not None:
        contents, missing = store.dataset("contents"), f"{fingerprint(column)} IS NULL"
        # The first count reads no vector.
        if not contents.count_rows(missing) or not contents.count_rows(f"{missing} AND ({where})"):
            there = f"{fingerprint(column)} IS NOT NULL"
            return FitRows.of(store, sample, Joined({column: fusion.dim}), there, least)
    return FitRows.of(store, sample, vectors, where, least)


def any_of(columns: Iterable[str]) -> str:
    """The condition that a row has one of these columns."""
    return " OR ".join(f"{name} IS NOT NULL" for name in columns)


def _stored_column(store: Store, fusion_id: str) -> str | None:
    """The column of a fusion's vectors, None before they are stored."""
    for each in generations(store.settings()):
        column = FUSED if each.in_force else FUSED_OTHER
        if each.fusion == fusion_id and column in store.dims():
            return column
    return None
