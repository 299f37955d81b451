"""Canaries: items of the database whose nearest rows are known from a scan of all vectors, to measure what an index
finds. Filters are stood in for by conditions on Lance's row numbers, which 1 in 10 and 1 in 100 rows meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import lance
import numpy as np

from fuseid.pipelines.store.hash_order import lowest
from fuseid.pipelines.store.index_figures import NEAREST, SHARES
from fuseid.pipelines.store.rows import READ_AHEAD_BYTES
from fuseid.pipelines.store.vector_columns import nan_rows

K = NEAREST
# The nearest rows that are kept for each canary: those as near as the tenth count as found, too.
_KEPT = 4 * K
_SAME = 1e-6
_BATCH = 8192
# How many items are drawn for each canary that is wanted: not all have a vector of each column.
_DRAWN = 16
# The condition that a filter is stood in for by: row numbers with this remainder.
_REMAINDER = 7
_NO_ROW = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class Nearest:
    """What a search for Q canaries should find. rows uint64 [Q, R]: the nearest, `_NO_ROW` where there are fewer; good
    bool [Q, R]: those as near as the tenth or nearer; size int [Q]: how many of them a search returns, 0 for a canary
    that cannot be judged because more rows than are kept are equally near."""

    rows_QR: np.ndarray
    good_QR: np.ndarray
    size_Q: np.ndarray


@dataclass(frozen=True)
class Canaries:
    """queries float32 [Q, D]: of length one. own uint64 [Q]: the row of the canary itself, which is not among its
    results. texts bool [Q]: vectors of texts that look for pictures. near: by `SHARES`."""

    column: str
    queries_QD: np.ndarray
    own_Q: np.ndarray
    texts_Q: np.ndarray
    near: Mapping[str, Nearest]


def condition(share: str) -> str | None:
    """The SQL condition that this share of the rows meets."""
    return None if share == "all" else f"_rowid % {SHARES[share]} = {_REMAINDER}"


def drawn(dataset: lance.LanceDataset, count: int) -> list[int]:
    """Row ids of the items with the lowest hash of their content_id, the lowest first: enough for `count` canaries."""
    rows: list[int] = lowest(dataset, _DRAWN * count, "content_id IS NOT NULL")["row"].to_pylist()
    return rows


def canaries(dataset: lance.LanceDataset, column: str, texts: str | None, rows: Sequence[int], count: int) -> Canaries:
    """Up to `count` of the vectors of a column. rows: as `drawn`. texts: a column of vectors of texts in the same
    space, of which up to as many are canaries, too."""
    own, queries = _vectors(dataset, column, rows, count)
    of_texts = np.zeros(len(own), bool)
    if texts is not None:
        _, more = _vectors(dataset, texts, rows, count)
        own = np.concatenate([own, np.full(len(more), _NO_ROW)])
        queries, of_texts = np.concatenate([queries, more]), np.concatenate([of_texts, np.ones(len(more), bool)])
    return Canaries(column, queries, own, of_texts, _scanned(dataset, column, queries, own))


def _vectors(
    dataset: lance.LanceDataset, column: str, rows: Sequence[int], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row ids uint64 [Q] and vectors of length one [Q, D] of the first `count` of the rows that have a vector which is
    not zero; of others if there are too few."""
    listed = ", ".join(map(str, rows))
    found = dataset.to_table(columns=[column], filter=f"_rowid IN ({listed})", with_row_id=True)
    ids, vectors = found["_rowid"].to_numpy(), nan_rows(found[column], dataset.schema.field(column).type.list_size)
    place = {row: number for number, row in enumerate(rows)}
    order = np.argsort([place[row] for row in ids.tolist()])
    lengths = np.linalg.norm(vectors, axis=1)
    order = order[lengths[order] > 0][:count]  # the NaN of an absent vector is not greater
    is_rare = len(order) < count and len(rows) >= _DRAWN * count
    others = lowest(dataset, 2 * count, f"{column} IS NOT NULL")["row"].to_pylist() if is_rare else []
    if others and set(others) != set(rows):
        return _vectors(dataset, column, others, count)
    return ids[order], vectors[order] / lengths[order, None]


def _scanned(dataset: lance.LanceDataset, column: str, queries_QD: np.ndarray, own_Q: np.ndarray) -> dict[str, Nearest]:
    best = {share: _Best(len(queries_QD)) for share in SHARES}
    if len(queries_QD):
        for ids, vectors in _batches(dataset, column):
            similar = queries_QD @ vectors.T
            similar[own_Q[:, None] == ids] = -np.inf
            for share, times in SHARES.items():
                there = slice(None) if times == 1 else ids % times == _REMAINDER
                best[share].add(ids[there], similar[:, there])
    return {share: each.nearest() for share, each in best.items()}


def _batches(dataset: lance.LanceDataset, column: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row ids uint64 [B] and vectors of length one [B, D], of those that are not zero."""
    reading = dataset.to_batches(columns=[column], batch_size=_BATCH, with_row_id=True, io_buffer_size=READ_AHEAD_BYTES)
    size = dataset.schema.field(column).type.list_size
    for batch in reading:
        vectors, ids = nan_rows(batch[column], size), batch["_rowid"].to_numpy()
        lengths = np.linalg.norm(vectors, axis=1)
        there = lengths > 0
        if there.any():
            yield ids[there], vectors[there] / lengths[there, None]


class _Best:
    """The rows that are nearest to Q queries, of batch after batch."""

    def __init__(self, queries: int) -> None:
        self._rows = np.full((queries, _KEPT), _NO_ROW)
        self._similar = np.full((queries, _KEPT), -np.inf, np.float32)

    def add(self, ids_B: np.ndarray, similar_QB: np.ndarray) -> None:
        better = (similar_QB > self._similar.min(1)[:, None]).any(0)
        similar = np.concatenate([self._similar, similar_QB[:, better]], axis=1)
        rows = np.concatenate([self._rows, np.broadcast_to(ids_B[better], (len(similar), int(better.sum())))], axis=1)
        kept = np.argpartition(-similar, _KEPT - 1, axis=1)[:, :_KEPT]
        self._rows, self._similar = np.take_along_axis(rows, kept, 1), np.take_along_axis(similar, kept, 1)

    def nearest(self) -> Nearest:
        there = np.isfinite(self._similar)
        size = np.minimum(K, there.sum(1))
        ordered = -np.sort(-self._similar, axis=1)
        # Of a query without any row, whose size is 0, this is not used.
        tenth = np.take_along_axis(ordered, np.maximum(size, 1)[:, None] - 1, 1)
        good = there & (self._similar >= tenth - _SAME)
        return Nearest(self._rows, good, np.where(good.all(1), 0, size))
