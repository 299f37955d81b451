"""What similarity is usual between a query and the items of a catalogue: cosines of two spaces are not on one scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.vector_columns import nan_rows

# How many rows calibrate the scores of a column; if fewer than the second number have its vector, rows that have it are
# searched for.
_ROWS, _FEWEST_VECTORS = 2048, 100
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True)
class Usual:
    """The mean cosine to a query, and its standard deviation."""

    mean: float
    spread: float

    def score(self, cosine_N: np.ndarray) -> np.ndarray:
        """In standard deviations above the mean."""
        return (cosine_N - self.mean) / self.spread


class Calibration:
    """Samples of vectors spread over the catalogue, each read when it is first used."""

    def __init__(self) -> None:
        self._samples: dict[str, pa.Table] = {}

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
        if column not in self._samples:
            rows, wanted = view.count, ["clip_fp", column]
            # Taking these few rows reads much less than a scan that stops when enough are found: Lance reads far ahead.
            spread = np.linspace(0, rows - 1, min(rows, _ROWS)).astype(np.int64)
            found = view.contents.take(spread, columns=wanted)
            found = found.filter(found[column].is_valid())
            if len(found) < min(rows, _FEWEST_VECTORS):
                found = view.contents.to_table(columns=wanted, filter=f"{column} IS NOT NULL", limit=_ROWS)
            self._samples[column] = found
        return self._samples[column]
