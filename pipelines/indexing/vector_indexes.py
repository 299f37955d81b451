"""Indexes of vectors: created once a column has enough of them."""

from __future__ import annotations

import math

import lance

from fuseid.core.modalities import FUSED_COLUMNS
from fuseid.pipelines.store.tables import vector_sizes

# Lance's own default. For a million rows, 122 partitions instead of a thousand are found in half the time, and searches
# are as fast and find as much: a partition holds 8 or 16 bytes for each row.
_PQ_PARTITION_ROWS = 8192
# The vectors that look-ups search once there are IDs, also of a generation that is not in force yet. Others are
# searched before the first fit only, and are scanned: to index a million of them takes ten times as long as to take
# them in.
_SEARCHED = ("clip_image", "clip_text", *FUSED_COLUMNS)


def index_vectors(dataset: lance.LanceDataset, have: set[str], threshold: int, pq_rows: int) -> None:
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


def _index_name(dataset: lance.LanceDataset, column: str) -> str:
    """A free name: an index keeps its own when the columns of two generations exchange theirs."""
    taken = {index.name for index in dataset.describe_indices()}
    return next(name for name in (f"{column}_idx", *(f"{each}_idx" for each in FUSED_COLUMNS)) if name not in taken)
