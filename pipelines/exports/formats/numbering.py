"""The map of formats that name items by dense numbers: `items.parquet`, row n is item n, from 0 on, by content_id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.pipelines.exports.columns import ExportInfo, chunks, column
from fuseid.pipelines.streams.prefetch import in_background

FILE = "items.parquet"
_LEVELS = b"fuseid.levels"


def numbered(items: Iterable[pa.RecordBatch], folder: Path, info: ExportInfo) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """-> (numbers int64 [N], chunk of N items); also writes the map of the numbers."""
    with items_writer(folder, info) as write:
        for chunk in chunks(items, info):
            yield write(column(chunk, "content_id")), chunk


@contextmanager
def items_writer(folder: Path, info: ExportInfo) -> Iterator[Callable[[pa.Array], np.ndarray]]:
    """-> a function that adds content_ids [N] to the map (number int64, content_id string) and returns their numbers,
    int64 [N]."""
    schema = pa.schema([("number", pa.int64()), ("content_id", pa.string())], {_LEVELS: str(info.levels)})
    written = 0

    def write(content_ids: pa.Array) -> np.ndarray:
        nonlocal written
        numbers_N = np.arange(written, written + len(content_ids))
        write_later(pa.RecordBatch.from_arrays([pa.array(numbers_N), content_ids], schema=schema))
        written += len(content_ids)
        return numbers_N

    with (
        pq.ParquetWriter(folder / FILE, schema, compression="zstd", use_dictionary=False) as file,
        in_background(file.write_batch) as write_later,
    ):
        yield write
