"""Searches of one version of a table by vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.index_figures import Effort
from fuseid.pipelines.store.vector_columns import nan_rows

# For an index that was not measured, as LanceDB searches it. Lance goes on until k rows fulfil a condition; without
# this it stops at the first partitions that have so many.
_UNMEASURED = 20


def nearest(
    view: View,
    column: str,
    query_D: np.ndarray,
    k: int,
    where: str | None = None,
    columns: Sequence[str] = ("content_id",),
    results: int | None = None,
) -> list[dict[str, Any]]:
    """The k rows of the smallest cosine distance, with their `_distance`, nearest first.

    Rows without a vector, and with a zero one, are never found, with or without an index, so there is no condition for
    that; it would read the whole column. Of an index so much is read as was found to be enough when it was measured,
    and more for more results. results: how many of the rows are to be found as well as that; by default all.
    """
    known = view.efforts.get(column)
    effort = None if known is None else known.effort(filtered=where is not None).of_results(results or k)
    search = vector_search(column, query_D, k, effort)
    exact = effort is not None and effort.compared == 1
    wanted = dict.fromkeys([*columns, *([column] if exact else []), "_distance"])
    found = view.contents.scanner(columns=list(wanted), nearest=search, filter=where, prefilter=True).to_table()
    if exact:
        found = _by_distance(found, column, query_D)
        found = found if column in columns else found.drop_columns(column)
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def vector_search(column: str, query: np.ndarray, k: int, effort: Effort | None) -> dict[str, Any]:
    """Lance's arguments for a search by a vector [D], or by several [Q, D]. effort: None for that of LanceDB."""
    search = {"column": column, "q": query, "k": k, "metric": "cosine"}
    if effort is None:
        return {**search, "minimum_nprobes": _UNMEASURED}
    # An effort of zero is so many partitions; by default, Lance chooses a number by the distances of their centres.
    search |= {"minimum_nprobes": effort.probes, "search_effort": 0.0}
    return {**search, "refine_factor": effort.compared} if effort.compared > 1 else search


def _by_distance(found: pa.Table, column: str, query_D: np.ndarray) -> pa.Table:
    """Rows with their exact distances, the nearest first. To read the vectors with the other columns takes a third of
    the time of Lance's refinement by as many rows."""
    vectors = nan_rows(found[column], query_D.size)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query_D)
    distances = (1.0 - vectors @ query_D / lengths).astype(np.float32)
    place = found.schema.get_field_index("_distance")
    found = found.set_column(place, found.schema.field(place), pa.array(distances, pa.float32()))
    return found.take(np.argsort(distances, kind="stable"))
