"""Partitions of vectors by k-means: how many there are, where their centres are, and which are nearest to a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fuseid.core.row_blocks import ArrayBlocks
from fuseid.pipelines.neighbourhood.row_files import Parts
from fuseid.tokenizers.kmeans import SAMPLE_ROWS_PER_CODE, kmeans

# Up to so many rows are one partition, so that their neighbours are exact.
_ONE_PARTITION = 8192
_MOST_PARTITIONS = 1 << 15
_ITERATIONS = 8
_SAMPLE_BYTES = 64 << 20
# Centres per cluster of centres, by which partitions are ordered.
_CENTRES_TOGETHER = 8
# Rows whose products with all centres are in memory at a time.
_ROWS = 512


def partition_count(rows: int) -> int:
    """1 up to 8,192 rows, else twice the square root of their number."""
    return 1 if rows <= _ONE_PARTITION else min(_MOST_PARTITIONS, 2 * round(rows**0.5))


def sample_rows(rows: int, dim: int) -> int:
    """How many rows the centres are fitted on."""
    return min(rows, SAMPLE_ROWS_PER_CODE * partition_count(rows), max(1, _SAMPLE_BYTES // (4 * dim)))


def fitted_centres(sample_ND: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """float32 [N, D] -> centres float32 [count, D], those that are near each other one after the other."""
    generator = torch.Generator().manual_seed(seed)
    if count == 1:
        return sample_ND.mean(0, dtype=np.float64).astype(np.float32)[None]
    count = min(count, len(sample_ND))
    centres = kmeans(ArrayBlocks(sample_ND), count, _ITERATIONS, generator)[0]
    clusters = max(1, count // _CENTRES_TOGETHER)
    coarse = kmeans(ArrayBlocks(centres.numpy()), clusters, _ITERATIONS, generator)[0]
    along = coarse @ (coarse - coarse.mean(0)).T[:, 0]
    cluster = Closeness(coarse.numpy())(centres.numpy()).argmax(1)
    return np.ascontiguousarray(centres.numpy()[np.lexsort((cluster, along.numpy()[cluster]))])


class Closeness:
    """How close rows are to centres: the larger, the smaller the Euclidean distance."""

    def __init__(self, centres_PD: np.ndarray) -> None:
        self._centres = torch.from_numpy(centres_PD).T.contiguous()
        self._halves = torch.from_numpy(centres_PD).square().sum(1) / 2

    def __call__(self, vectors_ND: np.ndarray) -> np.ndarray:
        """float32 [N, D] -> float32 [N, P], in one product."""
        found: np.ndarray = (torch.from_numpy(vectors_ND) @ self._centres).sub_(self._halves).numpy()
        return found

    def nearest(self, vectors_ND: np.ndarray) -> np.ndarray:
        """-> int64 [N]: the nearest centre of each row; the first of equally near ones."""
        parts = [np.empty(0, np.int64)]
        parts += [self(vectors_ND[at : at + _ROWS]).argmax(1) for at in range(0, len(vectors_ND), _ROWS)]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Partitions:
    """centres_PD: float32, numbered as in the files. parts: of the rows. k: how many neighbours a row is to have."""

    centres_PD: np.ndarray
    parts: Parts
    k: int

    @cached_property
    def sizes_P(self) -> np.ndarray:
        """int64: the rows of each partition."""
        rows = np.diff(self.parts.starts_R)
        return np.bincount(self.parts.partition_R, weights=rows, minlength=len(self.centres_PD)).astype(np.int64)

    @cached_property
    def closeness(self) -> Closeness:
        return Closeness(self.centres_PD)

    def probed(self, vectors_ND: np.ndarray, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """-> (rows int64 [M], partitions int64 [M]), in the order of the rows: the `probes` partitions nearest to each
        row, and further ones until there are k rows beside itself."""
        count = len(self.centres_PD)
        wanted = min(self.k, self.parts.rows - 1)
        rows, partitions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for at in range(0, len(vectors_ND), _ROWS):
            close = self.closeness(vectors_ND[at : at + _ROWS])
            top = np.argpartition(close, count - probes, axis=1)[:, count - probes :]
            few = np.flatnonzero(self.sizes_P[top].sum(1) <= wanted)
            whole = np.setdiff1d(np.arange(len(close)), few)
            rows.append(at + np.repeat(whole, probes))
            partitions.append(top[whole].reshape(-1))
            for row in few.tolist():
                order = np.argsort(-close[row], kind="stable")
                most = max(probes, int(np.searchsorted(np.cumsum(self.sizes_P[order]), wanted, side="right")) + 1)
                rows.append(np.full(min(most, count), at + row))
                partitions.append(order[:most])
        return np.concatenate(rows), np.concatenate(partitions)

    def __getstate__(self) -> dict[str, object]:
        return {name: self.__dict__[name] for name in ("centres_PD", "parts", "k")}
