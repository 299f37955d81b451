"""Items by number: their names and IDs, in the order in which every export numbers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import column, ids_of

Titles = Callable[[pa.Table], pa.Array]


@dataclass(frozen=True)
class Items:
    """table: content_id, codes (L codes, then the collision digit, 0 for an ID without one), and titles if a format
    needs them. An item's number is its row; rows are sorted by content_id."""

    table: pa.Table

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch], codebook_sizes: tuple[int, ...], titles: Titles | None) -> Items:
        """batches: of a snapshot's items. titles: makes the titles of the items in a table, from its columns."""
        width = len(codebook_sizes) + 1
        fields = [("content_id", pa.string()), ("codes", pa.list_(pa.int32(), width))]
        schema = pa.schema([*fields, ("title", pa.string())] if titles else fields)
        parts = []
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            codes_NM = ids_of(rows, codebook_sizes)
            columns = [column(rows, "content_id"), pa.FixedSizeListArray.from_arrays(codes_NM.reshape(-1), width)]
            if titles:
                columns.append(titles(rows).cast(pa.string()))
            parts.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        return cls(pa.Table.from_batches(parts, schema).combine_chunks())

    def __len__(self) -> int:
        return self.table.num_rows

    @cached_property
    def content_ids(self) -> pa.Array:
        return column(self.table, "content_id")

    @cached_property
    def codes_NM(self) -> np.ndarray:
        """int32 [N, L + 1]."""
        lists = column(self.table, "codes")
        return lists.flatten().to_numpy().reshape(len(lists), lists.type.list_size)

    def write_numbers(self, folder: Path) -> None:
        """`items.parquet`, the number and the content_id of every item that has an ID."""
        table = pa.table({"number": pa.array(range(len(self)), pa.int64()), "content_id": self.content_ids})
        pq.write_table(table, folder / "items.parquet", compression="zstd")

    @cached_property
    def titles(self) -> pa.Array:
        return column(self.table, "title")
