"""The items nearest to a vector of one column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.nearest import nearest
from fuseid.pipelines.search.spaces import CLIP_COLUMNS
from fuseid.pipelines.search.view import View, with_key


def by_vector(
    view: View, column: str, query_D: np.ndarray, k: int, where: str | None, columns: Sequence[str], without: set[str]
) -> pa.Table:
    """Scores are cosines. without: ids that are no results; an SQL condition for that would be evaluated for every
    row."""
    hits = nearest(view, column, query_D, k + len(without), where, with_key(columns), k)
    rows = [row for row in hits if row["content_id"] not in without][:k]
    shares = dict(zip(CLIP_COLUMNS, ("score_image", "score_text"), strict=True))
    for row in rows:
        row["score"] = 1.0 - row.pop("_distance")
        row["space"] = column
        if column in shares:
            row[shares[column]] = row["score"]
    return view.table(rows, columns)
