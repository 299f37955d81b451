"""Items below a prefix of an ID, in the order of IDs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.rows import below_prefix

_PREFIX = re.compile(r"[0-9]+(-[0-9]+)*(-|\.[0-9]+)?")


def by_prefix(view: View, sid: str, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
    """Raises BadInput for what is no prefix, StoreError without IDs."""
    keys = view.contents.to_table(columns=["sid", "content_id"], filter=below(view, sid, where))
    order = sorted(zip(keys["sid"].to_pylist(), keys["content_id"].to_pylist(), strict=True), key=_sid_order)[:k]
    found = view.rows([i for _, i in order], columns)
    return view.table([{**found[i], "score": None} for _, i in order], columns)


def below(view: View, sid: str, where: str | None) -> str:
    """The SQL condition for items below a prefix that fulfil `where`. Raises what `by_prefix` raises."""
    if not _PREFIX.fullmatch(sid):
        raise BadInput(f"not an ID or ID prefix: {sid!r}; the form is 12, 12-240, 12-240-7 or 12-240-7.1")
    if not view.has_ids:
        raise StoreError(no_ids(view.store.uri))
    return below_prefix(sid.rstrip("-")) + (f" AND ({where})" if where else "")


def _sid_order(item: tuple[str, str]) -> tuple[list[int], int, str]:
    base, _, suffix = item[0].partition(".")
    return [int(code) for code in base.split("-")], int(suffix or 0), item[1]
