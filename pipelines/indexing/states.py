"""The indexes of a database as they are, and what maintenance would do to each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import lance

from fuseid.pipelines.indexing.kinds import RECALL, VECTOR_ROWS
from fuseid.pipelines.indexing.vector_indexes import is_measured, missing_vector_indexes, outgrown_index, vectors_in
from fuseid.pipelines.store.index_figures import IndexFigures, figures_of, vector_indexes
from fuseid.pipelines.store.indexes import uncovered_rows
from fuseid.pipelines.store.store import Store


@dataclass(frozen=True)
class IndexState:
    """kind: Lance's name, None for an index that is not there yet. rows: that it covers. outside: rows that it does
    not cover, which searches scan. recall: what a search finds of the 10 nearest, the lowest figure with and without a
    filter; filtered: the lowest one with a filter; target: what was asked for; probes, filtered_probes: partitions
    that a search reads; all None for other indexes and for one that was not measured. due: what maintenance would do,
    `make`, `make again`, `extend` or `measure`; None for nothing."""

    name: str
    table: str
    column: str
    kind: str | None
    rows: int
    outside: int
    recall: float | None = None
    filtered: float | None = None
    target: float | None = None
    probes: int | None = None
    filtered_probes: int | None = None
    due: str | None = None


def index_states(
    store: Store, target: float | None = None, vector_rows: int = VECTOR_ROWS, added: int = 0
) -> list[IndexState]:
    """Those of `contents` and of the ledger. target: the recall that is asked for; by default what was asked for.
    added: how many items are about to be added; what is due is what will be due then."""
    states = []
    for table in ("contents", "assignments"):
        if table == "contents" and not store.has_contents():
            continue
        dataset = store.dataset(table)
        outside = uncovered_rows(dataset)
        vectors = {index.name for index in vector_indexes(dataset)}
        figures = figures_of(dataset)
        for index in dataset.describe_indices():
            state = IndexState(
                index.name, table, index.field_names[0], index.index_type, index.num_rows_indexed, outside[index.name],
                due="extend" if outside[index.name] or added else None,
            )  # fmt: skip
            if index.name in vectors:
                state = _of_vectors(dataset, index, state, figures.get(index.name), target, added)
            states.append(state)
        for column, rows in missing_vector_indexes(dataset, max(1, vector_rows - added)):
            states.append(IndexState(f"{column}_idx", table, column, None, 0, rows, due="make"))
    return states


def _of_vectors(
    dataset: lance.LanceDataset, index: Any, state: IndexState, figures: IndexFigures | None, target: float | None,
    added: int,
) -> IndexState:  # fmt: skip
    target = target or (figures.target if figures else RECALL)
    due = state.due or (None if is_measured(figures, index, target) else "measure")
    if outgrown_index(dataset, index, added):
        due = "make again"
    state = replace(state, due=due, rows=vectors_in(dataset, index.name))
    if figures is None:
        return state
    filtered = [one for share, one in figures.found.items() if share != "all"]
    recalls = [one.recall for one in filtered if one.recall is not None]
    return replace(
        state, recall=figures.recall, filtered=min(recalls, default=None), target=figures.target,
        probes=figures.effort(filtered=False).probes, filtered_probes=figures.effort(filtered=True).probes,
    )  # fmt: skip
