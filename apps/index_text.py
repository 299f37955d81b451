"""Prints the indexes of a database as a table."""

from __future__ import annotations

from collections.abc import Sequence

from fuseid.apps.show import print_rows
from fuseid.pipelines.indexing.states import IndexState

_COLUMNS = ("index", "table", "column", "kind", "rows", "outside", "recall@10", "with a filter", "probes", "due")


def print_indexes(states: Sequence[IndexState]) -> None:
    print_rows([_row(state) for state in states], _COLUMNS, title="indexes")


def _row(state: IndexState) -> dict[str, object]:
    probes = "" if state.probes is None else str(state.probes)
    if state.filtered_probes is not None and state.filtered_probes != state.probes:
        probes += f" ({state.filtered_probes} with a filter)"
    return {
        "index": state.name, "table": state.table, "column": state.column, "kind": state.kind or "",
        "rows": f"{state.rows:,}", "outside": f"{state.outside:,}", "recall@10": state.recall,
        "with a filter": state.filtered, "probes": probes, "due": state.due or "",
    }  # fmt: skip
