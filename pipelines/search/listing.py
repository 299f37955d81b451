"""Items that fulfil a condition, without a query: in the order of their content_id."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from fuseid.pipelines.search.view import View

_SORTED_AT_ONCE = 1 << 17


def by_content_id(view: View, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
    """The first k items; only their content_ids are held while the others are passed over."""
    scan = view.contents.scanner(columns=["content_id"], filter=where)
    kept = [scan.projected_schema.empty_table()]
    for batch in scan.to_batches():
        kept.append(pa.table(batch))
        if sum(map(len, kept)) > max(2 * k, _SORTED_AT_ONCE):
            kept = [_first(kept, k)]
    first = _first(kept, k)
    ids = first["content_id"].to_pylist()
    found = view.rows(ids, columns)
    return view.table([{**found[name], "score": None} for name in ids], columns)


def _first(parts: list[pa.Table], k: int) -> pa.Table:
    return pa.concat_tables(parts).sort_by("content_id").slice(0, k)
