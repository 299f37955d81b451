"""The map of formats that name items by dense numbers: `items.parquet`, row n is item n, from 0 on by content_id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.formats.about import About
from fuseid.pipelines.exports.formats.aside import aside
from fuseid.pipelines.exports.formats.columns import chunks, column
from fuseid.pipelines.exports.formats.reading import readable

FILE = "items.parquet"
_LEVELS = b"fuseid.levels"


def numbered(items: Iterable[pa.RecordBatch], folder: Path, about: About) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """-> (numbers int64 [N], chunk of N items), while their map is written beside."""
    with ItemsWriter(folder, about) as writer:
        for chunk in chunks(items, about):
            yield writer.write(column(chunk, "content_id")), chunk


class ItemsWriter:
    """Writes the map: (number int64, content_id string)."""

    def __init__(self, folder: Path, about: About) -> None:
        fields = [("number", pa.int64()), ("content_id", pa.string())]
        self._schema = pa.schema(fields, {_LEVELS: str(about.levels)})
        self._writer = pq.ParquetWriter(folder / FILE, self._schema, compression="zstd", use_dictionary=False)
        self._next = 0
        self._files = ExitStack()

    def write(self, content_ids: pa.Array) -> np.ndarray:
        """-> the numbers of these items, int64 [N]."""
        numbers_N = np.arange(self._next, self._next + len(content_ids))
        self._write(pa.RecordBatch.from_arrays([pa.array(numbers_N), content_ids], schema=self._schema))
        self._next += len(content_ids)
        return numbers_N

    def __enter__(self) -> ItemsWriter:
        self._write = self._files.enter_context(aside(self._files.enter_context(self._writer).write_batch))
        return self

    def __exit__(self, *raised: Any) -> None:
        self._files.__exit__(*raised)


def read_items(folder: Path) -> tuple[pa.Array, int]:
    """-> (content_id by number, levels of the IDs). Raises BadInput where the map is missing or has gaps."""
    path = folder / FILE
    with readable(path, "a map of item numbers"):
        table = pq.ParquetFile(path).read(["number", "content_id"])
        levels = int((table.schema.metadata or {})[_LEVELS])
        if not np.array_equal(table["number"].to_numpy(), np.arange(table.num_rows)):
            raise ValueError("its numbers are not 0, 1, 2, ...")
        return table["content_id"].combine_chunks().cast(pa.string()), levels
