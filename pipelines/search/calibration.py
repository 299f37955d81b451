"""What similarity is usual between a query and the items of a catalogue: cosines of two spaces are not on one scale."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.vector_columns import nan_rows

# How many rows calibrate the scores of a column; if fewer than the second number have its vector, rows that have it are
# searched for.
_ROWS, _FEWEST_VECTORS = 2048, 100
_LEAST_SPREAD = 1e-6
# Of which samples are held.
_VERSIONS = 2


@dataclass(frozen=True)
class Usual:
    """The mean cosine to a query, and its standard deviation."""

    mean: float
    spread: float

    def score(self, cosine_N: np.ndarray) -> np.ndarray:
        """In standard deviations above the mean."""
        return (cosine_N - self.mean) / self.spread


class Calibration:
    """Samples of vectors spread over one version of the catalogue, each read when it is first used: what a search
    returns depends on the version alone, not on those that were searched before."""

    def __init__(self) -> None:
        self._samples: OrderedDict[tuple[int, str], dict[str, pa.Table]] = OrderedDict()

    def usual(self, view: View, column: str, query_D: np.ndarray) -> Usual | None:
        """query: of length one. None if no item has a vector in the column."""
        sample = self.sample(view, column)
        if not len(sample):
            return None
        vectors = nan_rows(sample[column], view.dims[column])
        lengths = np.linalg.norm(vectors, axis=1)
        cosines = (vectors @ query_D)[lengths > 0] / lengths[lengths > 0]
        if not len(cosines):
            return None
        return Usual(float(cosines.mean()), max(float(cosines.std()), _LEAST_SPREAD))

    def sample(self, view: View, column: str) -> pa.Table:
        """Rows that have a vector in the column: this vector and `clip_fp`."""
        samples = self._samples.setdefault(view.key, {})
        self._samples.move_to_end(view.key)
        while len(self._samples) > _VERSIONS:
            self._samples.popitem(last=False)
        if column not in samples:
            rows, wanted = view.count, ["clip_fp", column]
            # Taking these few rows reads much less than a scan that stops when enough are found: Lance reads far ahead.
            spread = np.linspace(0, rows - 1, min(rows, _ROWS)).astype(np.int64)
            found = view.contents.take(spread, columns=wanted)
            found = found.filter(found[column].is_valid())
            if len(found) < min(rows, _FEWEST_VECTORS):
                found = view.contents.to_table(columns=wanted, filter=f"{column} IS NOT NULL", limit=_ROWS)
            samples[column] = found
        return samples[column]
