"""Tables of IDs: Parquet, CSV, JSON lines, and the folders of Parquet files that `fuseid export ids` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.pipelines.adoption.base import TABLE_ROWS
from fuseid.pipelines.adoption.table_columns import Layout
from fuseid.pipelines.sources.item import unchanging
from fuseid.pipelines.streams.batches import folded

SUFFIXES = (".parquet", ".csv", ".jsonl")


class Tables:
    """One file, or several that are read one after the other; the columns are those of `Layout`."""

    def __init__(self, files: list[Path], sizes: tuple[int, ...] | None = None) -> None:
        self.sizes = sizes
        self.notes: list[str] = []
        self._files = files

    def tables(self) -> Iterator[pa.Table]:
        for file in self._files:
            try:
                with unchanging(file, file):
                    yield from self._of_file(file)
            except (OSError, pa.ArrowException) as error:
                raise unusable(f"cannot read {file}: {reason(error)}", error) from None

    def _of_file(self, file: Path) -> Iterator[pa.Table]:
        read = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}[file.suffix]
        layout, batches = read(file)
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


def _parquet(path: Path) -> tuple[Layout, Iterator[pa.RecordBatch]]:
    file = pq.ParquetFile(path)
    layout = Layout.of(file.schema_arrow.names, path)
    return layout, file.iter_batches(batch_size=TABLE_ROWS, columns=layout.columns)


def _csv(path: Path) -> tuple[Layout, Iterator[pa.RecordBatch]]:
    with pa.csv.open_csv(path) as opened:
        layout = Layout.of(opened.schema.names, path)
    if layout.codes:
        raise BadInput(f"{path}: a CSV has no lists; write sid, or a column for each level: code_0, code_1, ...")
    texts = [layout.content_id, layout.sid, *layout.of_one]
    kinds = {name: pa.string() for name in texts if name} | {name: pa.int64() for name in layout.levels}
    if layout.suffix:
        kinds[layout.suffix] = pa.float64()
    options = pa.csv.ConvertOptions(column_types=kinds, include_columns=layout.columns)
    return layout, _closed(pa.csv.open_csv(path, convert_options=options))


def _jsonl(path: Path) -> tuple[Layout, Iterator[pa.RecordBatch]]:
    with pa.json.open_json(path) as opened:
        layout = Layout.of(opened.schema.names, path)
    return layout, _closed(pa.json.open_json(path))


def _closed(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with reader:
        yield from reader
