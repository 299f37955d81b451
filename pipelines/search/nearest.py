"""Searches of one version of a table by vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lance
import numpy as np

# Without this Lance stops at the first partitions in which k rows fulfil a condition.
_FEWEST_PARTITIONS = 20


def nearest(
    dataset: lance.LanceDataset,
    column: str,
    query_D: np.ndarray,
    k: int,
    where: str | None = None,
    columns: Sequence[str] = ("content_id",),
) -> list[dict[str, Any]]:
    """The k rows of the smallest cosine distance, with their `_distance`, nearest first.

    Rows without a vector, and with a zero one, are never found, with or without an index, so there is no condition for
    that; it would read the whole column. Of an index at least as many partitions are searched as LanceDB searches;
    Lance goes on until k rows fulfil `where`.
    """
    search = {"column": column, "q": query_D, "k": k, "metric": "cosine", "minimum_nprobes": _FEWEST_PARTITIONS}
    scan = dataset.scanner(columns=[*columns, "_distance"], nearest=search, filter=where, prefilter=True)
    return scan.to_table().to_pylist()
