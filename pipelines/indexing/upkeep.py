"""Upkeep of a database: fragments compacted, all indexes made and extended, old versions removed."""

from __future__ import annotations

from datetime import timedelta

from fuseid.core.faults import reached
from fuseid.core.memory import trimmed_memory
from fuseid.pipelines.indexing.vector_indexes import index_vectors
from fuseid.pipelines.store.id_order_making import ORDER_ROWS, maintain_id_order
from fuseid.pipelines.store.indexes import (
    FRAGMENT_BYTES,
    KEEP_RUN_VERSIONS,
    KEEP_VERSIONS,
    compact,
    extend_indexes,
    index_keys,
    index_words,
    indexed_columns,
    remove_old_versions,
)
from fuseid.pipelines.store.store import Store

# With fewer rows an exact scan takes milliseconds, and an index would only lower the recall.
VECTOR_ROWS = 50_000
PQ_ROWS = 1_000_000
FTS_ROWS = 5_000


def maintain(
    store: Store,
    vector_rows: int = VECTOR_ROWS,
    fts_rows: int = FTS_ROWS,
    pq_rows: int = PQ_ROWS,
    keep_versions: timedelta = KEEP_VERSIONS,
    fragment_bytes: int = FRAGMENT_BYTES,
    order_rows: int = ORDER_ROWS,
) -> None:
    """Compacts small fragments within a memory bound, creates the indexes that are due, adds new rows to all, and
    removes versions older than `keep_versions`.

    vector_rows, fts_rows, pq_rows, order_rows: from how many rows on an index of vectors, of words, or with product
    quantization, or the ID order is created. fragment_bytes: the most that a compacted fragment may hold.
    """
    reached("index.begun")
    for name in ("contents", "assignments"):
        if name == "contents" and not store.has_contents():
            continue
        if name == "contents":
            with trimmed_memory():
                compact(store, fragment_bytes)
                reached("index.compacted")
                index_words(store, fts_rows)
            with trimmed_memory(), store.writing(name) as dataset:
                index_vectors(dataset, indexed_columns(dataset), vector_rows, pq_rows)
        index_keys(store, name)
        reached("index.made")
        extend_indexes(store, name)
    maintain_id_order(store, keep_versions, order_rows)
    reached("index.done")
    for name in store.versions():
        remove_old_versions(store, name, keep_versions)
    remove_old_versions(store, "runs", min(keep_versions, KEEP_RUN_VERSIONS))
