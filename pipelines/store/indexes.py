"""Indexes: made once a table is large enough to gain from one, extended as waves land."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import lance

from fuseid.core.faults import reached
from fuseid.core.memory import trimmed_memory
from fuseid.core.records import MODALITIES
from fuseid.pipelines.store.pins import remove_expired
from fuseid.pipelines.store.store import Store

# Below these an exact scan answers in milliseconds and an index would only cost recall.
VECTOR_ROWS = 50_000
PQ_ROWS = 1_000_000
FTS_ROWS = 5_000
# While it is built; Lance's own limit is 2 GiB for each core.
_FTS_MIB = 1024
# Of a compacted fragment, whichever is less.
_FRAGMENT_ROWS, _FRAGMENT_BYTES = 1 << 20, 1 << 30
# The index on content_id waits one wave longer for each so many rows that it has, up to so many waves.
_ROWS_A_WAVE, _MOST_WAVES = 500_000, 20
# Exports and readers that began before a run may still need its older versions.
_KEEP_VERSIONS = timedelta(days=7)


def maintain(store: Store, vector_rows: int = VECTOR_ROWS, fts_rows: int = FTS_ROWS) -> None:
    """Compacts small fragments within a memory bound, makes the indexes that are due, and takes new rows into all."""
    reached("index.begun")
    for name, columns in (("contents", ("content_id", "sid")), ("assignments", ("content_id", "base"))):
        if name == "contents" and not store.has_contents():
            continue
        have = indexed_columns(store.dataset(name))
        if name == "contents":
            with trimmed_memory():
                compact(store)
                reached("index.compacted")
                with store.writing(name) as dataset:
                    positions = text_indexes(dataset)
                    for column, rows in (("caption", None), ("vlm_caption", "vlm_caption IS NOT NULL")):
                        # An index that an earlier fuseid made without positions is replaced.
                        due = not positions[column] if column in positions else dataset.count_rows(rows) >= fts_rows
                        if due:
                            dataset.create_scalar_index(column, "INVERTED", with_position=True, memory_limit=_FTS_MIB)
            with trimmed_memory(), store.writing(name) as dataset:
                _vector_indexes(dataset, have, vector_rows)
        with store.writing(name) as dataset:
            for column in columns:
                if column not in have and dataset.count_rows():
                    dataset.create_scalar_index(column, "BTREE")
        reached("index.made")
        with store.writing(name) as dataset:
            _extend_indexes(dataset)
    reached("index.done")
    for name in store.versions() | {"runs": 0}:
        remove_expired(store.dataset(name))
        # What an export has tagged stays, and what a backup is reading.
        store.dataset(name).cleanup_old_versions(older_than=_KEEP_VERSIONS, error_if_tagged_old_versions=False)


def compact(store: Store) -> None:
    """Joins small fragments of `contents`, by copying their pages where no row of them was deleted: to decode and write
    them anew takes four times the memory. Lance leaves fragments alone whose join would be larger than it may be, so it
    is told how many rows make a large one."""
    while True:
        with store.writing("contents") as dataset:
            files = [file for fragment in dataset.get_fragments() for file in fragment.metadata.files]
            size = sum(file.file_size_bytes or 0 for file in files)
            rows = min(_FRAGMENT_ROWS, dataset.count_rows() * _FRAGMENT_BYTES // max(1, size))
            done = dataset.optimize.compact_files(
                target_rows_per_fragment=max(1, rows), max_source_bytes=4 * _FRAGMENT_BYTES,
                compaction_mode="try_binary_copy", num_threads=1,
            )  # fmt: skip
        if done.fragments_removed <= done.fragments_added:
            return


def extend_key_index(store: Store, waves: int) -> None:
    """To be called after each wave of a run with their number so far: takes new rows into the BTREE on content_id,
    which keeps an upsert's cost flat as the table grows.

    An upsert reads the rows that the index lacks whole, and to extend it takes time by the rows that it has.
    """
    if waves % min(_MOST_WAVES, 1 + store.dataset("contents").count_rows() // _ROWS_A_WAVE) == 0:
        with trimmed_memory():
            index_key(store, "contents")


def index_key(store: Store, name: str) -> None:
    """Makes the BTREE on content_id, or takes new rows into it."""
    with store.writing(name) as dataset:
        if "content_id" in indexed_columns(dataset):
            dataset.optimize.optimize_indices(index_names=["content_id_idx"])
        else:
            dataset.create_scalar_index("content_id", "BTREE")


def indexed_columns(dataset: lance.LanceDataset) -> set[str]:
    """The columns that have an index."""
    return {column for index in dataset.describe_indices() for column in index.field_names}


def text_indexes(dataset: lance.LanceDataset) -> dict[str, bool]:
    """The columns that have a full-text index, and whether it holds the positions of words, as phrases need them."""
    indexes = (index for index in dataset.describe_indices() if index.index_type == "Inverted")
    return {index.field_names[0]: bool(index.details.get("with_position")) for index in indexes}


def unindexed_rows(store: Store) -> dict[str, int]:
    """Per index of `contents` the rows it does not cover, of a vector's those that have one."""
    dataset = store.dataset("contents")
    return {
        index.name: sum(fragment.count_rows(_belongs(index)) for fragment in _uncovered(dataset, index))
        for index in dataset.describe_indices()
    }


def _belongs(index: Any) -> str | None:
    """The condition for a row to be in an index; None where all rows are."""
    (column,) = index.field_names
    return f"{column} IS NOT NULL" if column in (*MODALITIES, "fused") else None


def _uncovered(dataset: lance.LanceDataset, index: Any) -> list[lance.LanceFragment]:
    covered = {number for segment in index.segments for number in segment.fragment_ids}
    return [fragment for fragment in dataset.get_fragments() if fragment.fragment_id not in covered]


def _extend_indexes(dataset: lance.LanceDataset) -> None:
    """Takes new rows into all indexes. Lance cannot extend a vector index by rows of which none has a vector, so such
    an index stays as it is; a search finds nothing in those rows anyway."""
    due = []
    for index in dataset.describe_indices():
        new = _uncovered(dataset, index)
        if not new or dataset.scanner(["content_id"], _belongs(index), limit=1, fragments=new).to_table().num_rows:
            due.append(index.name)
    dataset.optimize.optimize_indices(index_names=due)


def _vector_indexes(dataset: lance.LanceDataset, have: set[str], threshold: int) -> None:
    for column in (*MODALITIES, "fused"):
        if column not in dataset.schema.names or column in have:
            continue
        rows = dataset.count_rows(f"{column} IS NOT NULL")
        if rows < threshold:
            continue
        partitions = max(1, round(math.sqrt(rows)))
        if rows < PQ_ROWS:
            dataset.create_index(column, "IVF_FLAT", metric="cosine", num_partitions=partitions)
        else:
            size = dataset.schema.field(column).type.list_size
            # As LanceDB chooses by itself.
            parts = next((size // numbers for numbers in (16, 8) if size % numbers == 0), 1)
            dataset.create_index(column, "IVF_PQ", metric="cosine", num_partitions=partitions, num_sub_vectors=parts)
