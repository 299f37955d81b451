"""The items nearest to a vector or to another item, in one space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.text import storable
from fuseid.pipelines.search.nearest import nearest
from fuseid.pipelines.search.view import View, with_key


def by_vector(
    view: View, column: str, query_D: np.ndarray, k: int, where: str | None, columns: Sequence[str]
) -> pa.Table:
    """Raises BadInput for a vector that cannot be compared with those of the column."""
    size = view.dims[column]
    if query_D.shape != (size,) or not np.isfinite(query_D).all() or not query_D.any():
        raise BadInput(
            f"a query in {column} space takes {size} finite numbers that are not all zero, got {query_D.size}"
        )
    hits = nearest(view.contents, column, query_D, k, where, with_key(columns))
    return view.table([{**row, "score": 1.0 - row["_distance"]} for row in hits], columns)


def like(view: View, content_id: str, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
    """By the first of the item's vectors that is not zero. Raises NotReady for an unknown item, and one without such a
    vector."""
    content_id = storable(content_id)
    spaces = view.item_spaces
    row = view.rows([content_id], spaces).get(content_id)
    if row is None:
        raise NotReady(f"no item {content_id!r} in {view.store.uri}")
    column = next((name for name in spaces if row[name] is not None and any(row[name])), None)
    if column is None:
        raise NotReady(f"item {content_id!r} has no vector that is not zero, to compare with others")
    # The item is removed from its own results; an SQL condition for that would be evaluated for every row.
    query = np.asarray(row[column], np.float32)
    found = by_vector(view, column, query, k + 1, where, with_key(columns))
    return found.filter(pc.field("content_id") != content_id)[:k].select([*columns, "score"])


def query_of(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    """float32 [D]. Raises BadInput for what is not numbers."""
    try:
        with np.errstate(over="ignore"):  # infinite numbers are refused later
            return np.asarray(vector, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError):
        raise BadInput(f"a query vector holds numbers, got {str(vector)[:80]!r}") from None
