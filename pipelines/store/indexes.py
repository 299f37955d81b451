"""Indexes of keys and of words: created once a table is large enough, extended as waves are committed; and the sizes of
fragments and the age of versions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import lance

from fuseid.core.memory import trimmed_memory
from fuseid.pipelines.store.pins import remove_expired
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes

# The columns of each table that have an index on their values.
_KEYS = {"contents": ("content_id", "sid"), "assignments": ("content_id", "base")}
# The size of a compacted fragment, whichever is less.
_FRAGMENT_ROWS, FRAGMENT_BYTES = 1 << 20, 1 << 30
# The index on content_id is extended every N waves: N grows by one for each so many rows, up to so many waves.
_ROWS_A_WAVE, _MOST_WAVES = 500_000, 20
# Exports and readers that began before a run may still need its older versions.
KEEP_VERSIONS = timedelta(days=7)
# A run adds a version to `runs` each minute; readers of that table take no longer.
KEEP_RUN_VERSIONS = timedelta(minutes=30)


def index_keys(store: Store, name: str) -> None:
    """Creates the BTREE indexes that a table lacks."""
    with store.writing(name) as dataset:
        have = indexed_columns(dataset)
        for column in _KEYS[name]:
            if column not in have and dataset.count_rows():
                dataset.create_scalar_index(column, "BTREE")


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


def extend_indexes(store: Store, name: str, indexes: Collection[str] | None = None) -> None:
    """Adds new rows to those of the indexes, by default all, that lack any: Lance would write the others again too. It
    cannot extend a vector index by rows of which none has a vector; such an index stays as it is, since a search finds
    nothing in those rows anyway."""
    with store.writing(name) as dataset:
        due = []
        for index in dataset.describe_indices():
            if indexes is not None and index.name not in indexes:
                continue
            new = uncovered(dataset, index)
            rows = dataset.scanner(["content_id"], _belongs(dataset, index), limit=1, fragments=new) if new else None
            if rows is not None and rows.to_table().num_rows:
                due.append(index.name)
        if due:
            dataset.optimize.optimize_indices(index_names=due)


def indexed_columns(dataset: lance.LanceDataset) -> set[str]:
    """The columns that have an index."""
    return {column for index in dataset.describe_indices() for column in index.field_names}


def unindexed_rows(store: Store) -> dict[str, int]:
    """For each index of `contents` the number of rows that it does not cover; for a vector index, of rows that have the
    vector."""
    return uncovered_rows(store.dataset("contents"))


def uncovered_rows(dataset: lance.LanceDataset) -> dict[str, int]:
    """As `unindexed_rows`, of a version of a table."""
    return {index.name: rows_outside(dataset, index) for index in dataset.describe_indices()}


def rows_outside(dataset: lance.LanceDataset, index: Any) -> int:
    """The number of rows that belong to an index and that it does not cover."""
    return sum(fragment.count_rows(_belongs(dataset, index)) for fragment in uncovered(dataset, index))


def about_rows_outside(dataset: lance.LanceDataset, index: Any, most: int = 10_000) -> int:
    """As `rows_outside`, without reading more than about `most` vectors, however many rows there are: beyond that, the
    share of rows that have the vector is taken from as many, spread evenly."""
    fragments = uncovered(dataset, index)
    total = sum(fragment.count_rows() for fragment in fragments)
    if total <= most or _belongs(dataset, index) is None:
        return rows_outside(dataset, index) if total else 0
    (column,) = index.field_names
    about = 0.0
    for fragment in fragments:
        rows = fragment.count_rows()
        taken = -(-rows * most // total)
        found = fragment.take([at * rows // taken for at in range(taken)], columns=[column])
        about += rows * (1 - found[column].null_count / taken)
    return round(about)


def _belongs(dataset: lance.LanceDataset, index: Any) -> str | None:
    """The SQL condition for a row to belong to an index; None if all rows do."""
    (column,) = index.field_names
    return f"{column} IS NOT NULL" if column in vector_sizes(dataset.schema) else None


def uncovered(dataset: lance.LanceDataset, index: Any) -> list[lance.LanceFragment]:
    """The fragments whose rows an index lacks."""
    covered = {number for segment in index.segments for number in segment.fragment_ids}
    return [fragment for fragment in dataset.get_fragments() if fragment.fragment_id not in covered]
