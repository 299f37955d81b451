"""Tables of IDs: Parquet, CSV, JSON lines, and the folders of Parquet files that `fuseid export ids` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput
from fuseid.pipelines.adoption.base import TABLE_ROWS
from fuseid.pipelines.adoption.table_columns import Layout
from fuseid.pipelines.files.data_file import SEPARATORS, DataFile, format_of
from fuseid.pipelines.sources.rows import reading
from fuseid.pipelines.streams.batches import folded


class Tables:
    """One file, or several that are read one after the other; the columns are those of `Layout`."""

    def __init__(self, files: list[Path], sizes: tuple[int, ...] | None = None) -> None:
        self.sizes = sizes
        self.notes: list[str] = []
        self._files = files

    def tables(self) -> Iterator[pa.Table]:
        for path in self._files:
            file = DataFile(path, format_of(path.name) or "", str(path))
            with reading(file):
                yield from self._of_file(file, path)

    def _of_file(self, data: DataFile, file: Path) -> Iterator[pa.Table]:
        read = {"parquet": _parquet, "jsonl": _jsonl}.get(data.format, _delimited)
        layout, batches = read(data)
        self._note(layout)
        first = 1
        of_one: dict[str, set[str | None]] = {}
        for table in folded(batches, TABLE_ROWS):
            for name in layout.of_one:
                of_one[name] = {*of_one.get(name, ()), *table[name].unique().to_pylist()}
                if len(of_one[name]) > 1:
                    these = ", ".join(sorted(map(str, of_one[name])))
                    raise BadInput(f"{file} holds IDs of several values of {name} ({these}); keep those of one")
            yield layout.ids(table, file, first)
            first += len(table)

    def _note(self, layout: Layout) -> None:
        if layout.content_id == "item_id" and not self.notes:
            self.notes.append("the column item_id is the content_id")


def _parquet(file: DataFile) -> tuple[Layout, Iterator[pa.RecordBatch]]:
    opened = pq.ParquetFile(file.path)
    layout = Layout.of(opened.schema_arrow.names, file.path)
    return layout, opened.iter_batches(batch_size=TABLE_ROWS, columns=layout.columns)


def _delimited(file: DataFile) -> tuple[Layout, Iterator[pa.RecordBatch]]:
    parsing = pa.csv.ParseOptions(delimiter=SEPARATORS[file.format])
    with file.bytes() as stream, pa.csv.open_csv(stream, parse_options=parsing) as opened:
        names = opened.schema.names
    if problem := file.separator_problem(names):
        raise BadInput(problem)
    layout = Layout.of(names, file.path)
    if layout.codes:
        raise BadInput(f"{file.path}: a CSV has no lists; write sid, or a column for each level: code_0, code_1, ...")
    texts = [layout.content_id, layout.sid, *layout.of_one]
    kinds = {name: pa.string() for name in texts if name} | {name: pa.int64() for name in layout.levels}
    if layout.suffix:
        kinds[layout.suffix] = pa.float64()
    options = pa.csv.ConvertOptions(column_types=kinds, include_columns=layout.columns)
    return layout, _batches(file, lambda stream: pa.csv.open_csv(stream, None, parsing, options))


def _jsonl(file: DataFile) -> tuple[Layout, Iterator[pa.RecordBatch]]:
    with file.bytes() as stream, pa.json.open_json(stream) as opened:
        layout = Layout.of(opened.schema.names, file.path)
    return layout, _batches(file, pa.json.open_json)


def _batches(file: DataFile, opened: Callable[[BinaryIO], pa.RecordBatchReader]) -> Iterator[pa.RecordBatch]:
    try:
        with file.bytes() as stream, opened(stream) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise BadInput(file.encoding_problem()) from None
        raise
