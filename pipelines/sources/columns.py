"""Columns of Parquet, CSV or TSV files as Arrow batches, without reading the others."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.pipelines.files.data_file import SEPARATORS, DataFile
from fuseid.pipelines.sources.parts import Part, opened_part
from fuseid.pipelines.sources.rows import reading

CSV_BLOCK = 1 << 23
_ROWS = 1 << 18
_READ_BYTES = 1 << 20
_MOST_CHARS = 1 << 24  # of a header


def schema_of(part: Part) -> pa.Schema:
    """The columns of a file, and those of its folders that it lacks."""
    with opened_part(part, SourceConfig()) as file, reading(file):
        if file.format == "parquet":
            schema = pq.read_schema(file.path)
        else:
            with file.lines(_MOST_CHARS, newline="") as lines:
                header = next(csv.reader(lines, delimiter=SEPARATORS[file.format]), [])
            if problem := file.separator_problem(header):
                raise BadInput(problem)
            types = {"weight": pa.float64()}
            schema = pa.schema([(name, types.get(name, pa.string())) for name in header])
    folders = [pa.field(name, pa.string()) for name, _ in part.columns if name not in schema.names]
    return pa.schema([*schema, *folders])


def column_batches(
    part: Part, file: DataFile, names: list[str], types: pa.Schema, csv_block: int = CSV_BLOCK
) -> Iterator[pa.RecordBatch]:
    """The named columns; those that only the folders of the part have are added. types: of columns of a CSV that are
    not text."""
    there = schema_of(Part(part.file, part.format)).names
    folders = {name: value for name, value in part.columns if name not in there}
    read = [name for name in names if name not in folders]
    batches = _parquet(file, read) if file.format == "parquet" else _delimited(file, read, types, csv_block)
    for batch in batches:
        for name in names:
            if name in folders:
                batch = batch.append_column(name, pa.repeat(pa.scalar(folders[name], pa.string()), batch.num_rows))
        yield batch


def _parquet(file: DataFile, names: list[str]) -> Iterator[pa.RecordBatch]:
    # With read-ahead, the whole file would stay in memory until its end.
    with pq.ParquetFile(file.path, pre_buffer=False, buffer_size=_READ_BYTES) as opened:
        yield from opened.iter_batches(batch_size=_ROWS, columns=names)


def _delimited(file: DataFile, names: list[str], types: pa.Schema, csv_block: int) -> Iterator[pa.RecordBatch]:
    # All columns are read as text and converted later: inferred types would differ from file to file, and would drop
    # the zeros of 007.
    columns = {name: types.field(name).type if name in types.names else pa.string() for name in names}
    converting = pa_csv.ConvertOptions(
        column_types=columns, include_columns=names, null_values=[""], strings_can_be_null=True,
    )  # fmt: skip
    parsing = pa_csv.ParseOptions(delimiter=SEPARATORS[file.format])
    try:
        with (
            file.bytes() as stream,
            pa_csv.open_csv(stream, pa_csv.ReadOptions(block_size=csv_block), parsing, converting) as reader,
        ):
            yield from reader
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise BadInput(file.encoding_problem()) from None
        raise
