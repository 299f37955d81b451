"""Indexes: created once a table is large enough to gain from them, extended as waves are committed."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import lance

from fuseid.core.faults import reached
from fuseid.core.memory import trimmed_memory
from fuseid.core.modalities import FUSED_COLUMNS
from fuseid.pipelines.store.pins import remove_expired
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes
from fuseid.pipelines.store.word_indexes import FTS_ROWS, make_text_indexes

# With fewer rows an exact scan takes milliseconds, and an index would only lower the recall.
VECTOR_ROWS = 50_000
PQ_ROWS = 1_000_000
# Lance's own default. For a million rows, 122 partitions instead of a thousand are found in half the time, and searches
# are as fast and find as much: a partition holds 8 or 16 bytes for each row.
_PQ_PARTITION_ROWS = 8192
# The vectors that look-ups search once there are IDs, also of a generation that is not in force yet. Others are
# searched before the first fit only, and are scanned: to index a million of them takes ten times as long as to take
# them in.
_SEARCHED = ("clip_image", "clip_text", *FUSED_COLUMNS)
# The size of a compacted fragment, whichever is less.
_FRAGMENT_ROWS, FRAGMENT_BYTES = 1 << 20, 1 << 30
# The index on content_id is extended every N waves: N grows by one for each so many rows, up to so many waves.
_ROWS_A_WAVE, _MOST_WAVES = 500_000, 20
# Exports and readers that began before a run may still need its older versions.
KEEP_VERSIONS = timedelta(days=7)
# A run adds a version to `runs` each minute; readers of that table take no longer.
KEEP_RUN_VERSIONS = timedelta(minutes=30)


def maintain(
    store: Store,
    vector_rows: int = VECTOR_ROWS,
    fts_rows: int = FTS_ROWS,
    pq_rows: int = PQ_ROWS,
    keep_versions: timedelta = KEEP_VERSIONS,
    fragment_bytes: int = FRAGMENT_BYTES,
) -> None:
    """Compacts small fragments within a memory bound, creates the indexes that are due, adds new rows to all, and
    removes versions older than `keep_versions`.

    vector_rows, fts_rows, pq_rows: from how many rows on an index of vectors, of words, or with product quantization is
    created. fragment_bytes: the most that a compacted fragment may hold.
    """
    reached("index.begun")
    for name, columns in (("contents", ("content_id", "sid")), ("assignments", ("content_id", "base"))):
        if name == "contents" and not store.has_contents():
            continue
        have = indexed_columns(store.dataset(name))
        if name == "contents":
            with trimmed_memory():
                compact(store, fragment_bytes)
                reached("index.compacted")
                with store.writing(name) as dataset:
                    make_text_indexes(dataset, fts_rows)
            with trimmed_memory(), store.writing(name) as dataset:
                _vector_indexes(dataset, have, vector_rows, pq_rows)
        with store.writing(name) as dataset:
            for column in columns:
                if column not in have and dataset.count_rows():
                    dataset.create_scalar_index(column, "BTREE")
        reached("index.made")
        with store.writing(name) as dataset:
            _extend_indexes(dataset)
    reached("index.done")
    for name in store.versions():
        remove_old_versions(store, name, keep_versions)
    remove_old_versions(store, "runs", min(keep_versions, KEEP_RUN_VERSIONS))


def remove_old_versions(store: Store, name: str, keep: timedelta) -> None:
    """Removes versions of a table that are older; those that an export has tagged or a backup is reading stay."""
    remove_expired(store.dataset(name))
    store.dataset(name).cleanup_old_versions(older_than=keep, error_if_tagged_old_versions=False)


def compact(store: Store, fragment_bytes: int = FRAGMENT_BYTES) -> None:
    """Merges small fragments of `contents`. Fragments without deleted rows are merged by copying their pages; decoding
    and encoding them again would take four times the memory. Lance does not merge fragments beyond the target number
    of rows, so that number is computed from the bytes that a fragment may have."""
    while True:
        with store.writing("contents") as dataset:
            files = [file for fragment in dataset.get_fragments() for file in fragment.metadata.files]
            size = sum(file.file_size_bytes or 0 for file in files)
            rows = min(_FRAGMENT_ROWS, dataset.count_rows() * fragment_bytes // max(1, size))
            done = dataset.optimize.compact_files(
                target_rows_per_fragment=max(1, rows), max_source_bytes=4 * fragment_bytes,
                compaction_mode="try_binary_copy", num_threads=1,
            )  # fmt: skip
        if done.fragments_removed <= done.fragments_added:
            return


def extend_key_index(store: Store, waves: int) -> None:
    """To be called after each wave of a run, with the number of waves so far: adds new rows to the BTREE on content_id
    from time to time, so that the cost of an upsert does not grow with the table.

    An upsert reads all columns of the rows that are not in the index; the time to extend the index grows with its rows.
    """
    if waves % min(_MOST_WAVES, 1 + store.dataset("contents").count_rows() // _ROWS_A_WAVE) == 0:
        with trimmed_memory():
            index_key(store, "contents")


def index_key(store: Store, name: str) -> None:
    """Creates the BTREE on content_id, or adds new rows to it."""
    with store.writing(name) as dataset:
        if "content_id" in indexed_columns(dataset):
            dataset.optimize.optimize_indices(index_names=["content_id_idx"])
        else:
            dataset.create_scalar_index("content_id", "BTREE")


def indexed_columns(dataset: lance.LanceDataset) -> set[str]:
    """The columns that have an index."""
    return {column for index in dataset.describe_indices() for column in index.field_names}


def unindexed_rows(store: Store) -> dict[str, int]:
    """For each index of `contents` the number of rows that it does not cover; for a vector index, of rows that have the
    vector."""
    dataset = store.dataset("contents")
    return {
        index.name: sum(fragment.count_rows(_belongs(dataset, index)) for fragment in _uncovered(dataset, index))
        for index in dataset.describe_indices()
    }


def _belongs(dataset: lance.LanceDataset, index: Any) -> str | None:
    """The SQL condition for a row to belong to an index; None if all rows do."""
    (column,) = index.field_names
    return f"{column} IS NOT NULL" if column in vector_sizes(dataset.schema) else None


def _uncovered(dataset: lance.LanceDataset, index: Any) -> list[lance.LanceFragment]:
    covered = {number for segment in index.segments for number in segment.fragment_ids}
    return [fragment for fragment in dataset.get_fragments() if fragment.fragment_id not in covered]


def _extend_indexes(dataset: lance.LanceDataset) -> None:
    """Adds new rows to the indexes that lack any: Lance would write the others again too. It cannot extend a vector
    index by rows of which none has a vector; such an index stays as it is, since a search finds nothing in those rows
    anyway."""
    due = []
    for index in dataset.describe_indices():
        new = _uncovered(dataset, index)
        rows = dataset.scanner(["content_id"], _belongs(dataset, index), limit=1, fragments=new) if new else None
        if rows is not None and rows.to_table().num_rows:
            due.append(index.name)
    if due:
        dataset.optimize.optimize_indices(index_names=due)


def _index_name(dataset: lance.LanceDataset, column: str) -> str:
    """A free name: an index keeps its own when the columns of two generations exchange theirs."""
    taken = {index.name for index in dataset.describe_indices()}
    return next(name for name in (f"{column}_idx", *(f"{each}_idx" for each in FUSED_COLUMNS)) if name not in taken)


def _vector_indexes(dataset: lance.LanceDataset, have: set[str], threshold: int, pq_rows: int) -> None:
    for column, size in vector_sizes(dataset.schema).items():
        if column in have or column not in _SEARCHED:
            continue
        rows = dataset.count_rows(f"{column} IS NOT NULL")
        if rows < threshold:
            continue
        name = _index_name(dataset, column)
        partitions = max(1, round(math.sqrt(rows)))
        if rows < pq_rows:
            dataset.create_index(column, "IVF_FLAT", name=name, metric="cosine", num_partitions=partitions)
        else:
            partitions = max(1, min(partitions, round(rows / _PQ_PARTITION_ROWS)))
            # LanceDB's own default.
            parts = next((size // numbers for numbers in (16, 8) if size % numbers == 0), 1)
            dataset.create_index(
                column, "IVF_PQ", name=name, metric="cosine", num_partitions=partitions, num_sub_vectors=parts
            )
