"""The work of a neighbour table in pieces that depend on the rows alone, never on who does them: the best rows of a
group of parts among the partitions near them, and the best rows of canaries among all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fuseid.pipelines.neighbourhood.best import Best
from fuseid.pipelines.neighbourhood.partitions import Partitions
from fuseid.pipelines.neighbourhood.row_files import PART_ROWS, Rows

Read = Callable[[int], Rows]
"""The rows of a part."""

# Queries per matrix product.
_QUERIES = 512


@dataclass(frozen=True)
class Found:
    """The neighbours of items. places_N: uint32, of the items. keys_NK: uint64, see `best.keys_of`."""

    places_N: np.ndarray
    keys_NK: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """Finds the neighbours of the rows of a group of parts. probes: how many partitions each row is compared with."""

    partitions: Partitions
    probes: int

    def needs(self, read: Read, group: Sequence[int]) -> list[int]:
        """The parts that the work reads."""
        _, partitions = self.partitions.probed(_joined(read, group).vectors_ND, self.probes)
        parts = self.partitions.parts
        return sorted({*group, *(part for one in np.unique(partitions) for part in parts.of_partition(int(one)))})

    def __call__(self, read: Read, group: Sequence[int]) -> Found:
        own = _joined(read, group)
        rows, partitions = self.partitions.probed(own.vectors_ND, self.probes)
        order = np.argsort(partitions, kind="stable")
        rows, counts = rows[order], np.bincount(partitions, minlength=len(self.partitions.centres_PD))
        starts = np.cumsum(counts) - counts
        best = Best(own.places_N, self.partitions.k)
        products = _Products(own, best)
        # Those that most rows probe first: they hold the nearest ones, after which few others are good enough.
        for partition in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
            queries = np.sort(rows[starts[partition] : starts[partition] + counts[partition]])
            for part in self.partitions.parts.of_partition(partition):
                products.compare(queries, read(part))
        return Found(own.places_N, best.finish())


@dataclass(frozen=True)
class Exact:
    """Finds the best rows of canaries among the rows of a group of parts. own: the canaries."""

    own: Rows
    k: int

    def needs(self, read: Read, group: Sequence[int]) -> list[int]:
        return list(group)

    def __call__(self, read: Read, group: Sequence[int]) -> Found:
        best = Best(self.own.places_N, self.k)
        products = _Products(self.own, best)
        for part in group:
            products.compare(np.arange(len(self.own.places_N)), read(part))
        return Found(self.own.places_N, best.finish())


def best_of(found: Iterable[Found], k: int) -> np.ndarray:
    """The best of what each group gave for the same canaries -> keys uint64 [N, k]."""
    kept: np.ndarray | None = None
    for one in found:
        joined = one.keys_NK if kept is None else np.concatenate([kept, one.keys_NK], axis=1)
        kept = np.sort(joined, axis=1)[:, ::-1][:, :k]
    return np.zeros((0, k), np.uint64) if kept is None else kept


def _joined(read: Read, group: Sequence[int]) -> Rows:
    parts = [read(part) for part in group]
    return Rows(np.concatenate([each.places_N for each in parts]), np.concatenate([each.vectors_ND for each in parts]))


class _Products:
    """Compares queries with rows, in memory that is used again: pages that are new each time cost more than the
    products."""

    def __init__(self, own: Rows, best: Best) -> None:
        self._vectors = own.vectors_ND
        self._best = best
        self._queries = np.empty((_QUERIES, own.vectors_ND.shape[1]), np.float32)
        self._scores = torch.empty(_QUERIES * PART_ROWS)

    def compare(self, queries_M: np.ndarray, rows: Rows) -> None:
        """queries_M: int64, of the own rows."""
        other = torch.from_numpy(rows.vectors_ND).T
        for at in range(0, len(queries_M), _QUERIES):
            queries = queries_M[at : at + _QUERIES]
            shape = len(queries), len(rows.places_N)
            taken = np.take(self._vectors, queries, axis=0, out=self._queries[: len(queries)], mode="clip")
            scores = self._scores[: shape[0] * shape[1]].view(shape)
            torch.mm(torch.from_numpy(taken), other, out=scores)
            self._best.add(queries, scores.numpy(), rows.places_N)
