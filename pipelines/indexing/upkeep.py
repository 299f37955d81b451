"""Upkeep of a database: fragments compacted, all indexes made and extended, old versions removed."""

from __future__ import annotations

from datetime import timedelta

from fuseid.core.faults import reached
from fuseid.core.memory import trimmed_memory
from fuseid.pipelines.indexing.kinds import RECALL, VECTOR_ROWS
from fuseid.pipelines.indexing.vector_indexes import index_vectors, measure_vector_indexes
from fuseid.pipelines.store.id_order_making import ORDER_ROWS, maintain_id_order
from fuseid.pipelines.store.indexes import (
    FRAGMENT_BYTES,
    KEEP_RUN_VERSIONS,
    KEEP_VERSIONS,
    compact,
    extend_indexes,
    index_keys,
    remove_old_versions,
)
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.word_indexes import FTS_ROWS, index_words


def maintain(
    store: Store,
    vector_rows: int = VECTOR_ROWS,
    fts_rows: int = FTS_ROWS,
    keep_versions: timedelta = KEEP_VERSIONS,
    fragment_bytes: int = FRAGMENT_BYTES,
    *,
    order_rows: int = ORDER_ROWS,
    recall: float = RECALL,
    measure_all: bool = False,
) -> list[str]:
    """Compacts small fragments within a memory bound, creates the indexes that are due, adds new rows to all, measures
    how much the indexes of vectors find, makes those again that find too little, and removes versions older than
    `keep_versions`. Returns notes about what was out of order.

    vector_rows, fts_rows, order_rows: from how many rows on an index of vectors or of words, or the ID order is
    created. fragment_bytes: the most that a compacted fragment may hold. recall: what look-ups are to find of the 10
    nearest items. measure_all: also indexes that have not changed since they were measured.
    """
    reached("index.begun")
    notes: list[str] = []
    made: set[str] = set()
    if store.has_contents():
        with trimmed_memory():
            compact(store, fragment_bytes)
            reached("index.compacted")
            index_words(store, fts_rows)
            made, notes = index_vectors(store, vector_rows)
    for name in ("contents", "assignments") if store.has_contents() else ("assignments",):
        index_keys(store, name)
        reached("index.made")
        extend_indexes(store, name)
    if store.has_contents():
        notes += measure_vector_indexes(store, recall, made, measure_all)
    maintain_id_order(store, keep_versions, order_rows)
    reached("index.done")
    for name in store.versions():
        remove_old_versions(store, name, keep_versions)
    remove_old_versions(store, "runs", min(keep_versions, KEEP_RUN_VERSIONS))
    return notes
