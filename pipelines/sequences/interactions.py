"""Interactions of users with items: Parquet, CSV or TSV files, read and checked batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.core.names import hint
from fuseid.core.surface import option
from fuseid.pipelines.exports.folder import file_hash
from fuseid.pipelines.files.compression import codec_of
from fuseid.pipelines.files.data_file import DataFile
from fuseid.pipelines.sequences.clock import UTC_TIME, Clock
from fuseid.pipelines.sources.columns import CSV_BLOCK, column_batches, schema_of
from fuseid.pipelines.sources.parts import Part, find_parts, opened_part
from fuseid.pipelines.sources.rows import reading
from fuseid.pipelines.sources.texts import Unreadable, is_id, texts_of, values_of

NEEDED = ("user_id", "content_id", "timestamp")
EVENTS = pa.schema([("user_id", pa.string()), ("content_id", pa.string()), ("timestamp", UTC_TIME)])
# The number of events in a CSV is estimated from its size; the estimate only decides how many files are written.
_CSV_EVENT_BYTES = 40
_USUAL_RATIO = 5  # of compressed text
_FORMATS = ("parquet", "csv", "tsv")
_WHAT = "interactions are .parquet, .csv or .tsv files (the last two also .gz or .zst), or a folder or pattern of them"


@dataclass
class _Problem:
    """Rows in which a value is missing or cannot be read."""

    what: str
    rows: int = 0
    first: str = ""


@dataclass
class Interactions:
    """kept: columns besides the needed ones, with the names and types that they have in all files."""

    base: Path
    files: list[Part]
    kept: pa.Schema
    clock: Clock
    _problems: dict[str, _Problem] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, clock: Clock | None = None, keep: Sequence[str] | None = None) -> Interactions:
        """path: a Parquet, CSV or TSV file, the last two also compressed, or a folder or pattern of files of one of
        these kinds, read by name; the folders `KEY=VALUE` that a file lies in are columns of text. keep: the other
        columns to keep, by default all; `event` is then text and `weight` a number.

        Raises BadInput for a path that is missing or of an unknown kind, and for files without the columns.
        """
        found = find_parts(str(path), _FORMATS, SourceConfig(), _WHAT)
        files = found.parts
        schemas = [schema_of(file) for file in files]
        for file, schema in zip(files, schemas, strict=True):
            _check_columns(file, schema, keep)
        kept = _kept(schemas[0], keep)
        for file, schema in zip(files, schemas, strict=True):
            if not (other := _kept(schema, keep)).equals(kept):
                raise BadInput(
                    f"{file.file} has other columns than {files[0].file}: {_listed(other)}, not {_listed(kept)}; "
                    f"make them alike, or name those to keep with {option('keep')}"
                )
        return cls(Path(found.base), files, kept, clock or Clock())

    def estimated_events(self) -> int:
        """Exact for Parquet, estimated by size for text."""
        if self.files[0].format == "parquet":
            return sum(pq.read_metadata(part.file).num_rows for part in self.files)
        sizes = (
            os.path.getsize(part.file) * (1 if codec_of(Path(part.file)) is None else _USUAL_RATIO)
            for part in self.files
        )
        return sum(sizes) // _CSV_EVENT_BYTES

    def facts(self) -> list[dict[str, Any]]:
        """The name, size in bytes and BLAKE2b-128 of each file."""
        files = [Path(part.file) for part in self.files]
        return [
            {
                "name": file.resolve().relative_to(self.base).as_posix(),
                "bytes": file.stat().st_size,
                "blake2b": file_hash(file),
            }
            for file in files
        ]

    def batches(self, csv_block: int = CSV_BLOCK) -> Iterator[pa.RecordBatch]:
        """EVENTS and the kept columns, in the order of the files. csv_block: bytes of a CSV that are read at a time.

        Raises BadInput: at once for a file that cannot be read and for time stamps of no clear meaning; at the end,
        with counts and the first row of each kind, if rows lack a user, an item or a readable time stamp.
        """
        self._problems.clear()
        schema = pa.schema([*EVENTS, *self.kept])
        total = 0
        for part in self.files:
            with opened_part(part, SourceConfig()) as file, reading(file):
                row = 0
                for raw in column_batches(part, file, [*NEEDED, *self.kept.names], self.kept, csv_block):
                    columns = [self._column(raw, name, file, row) for name in schema.names]
                    row += raw.num_rows
                    total += raw.num_rows
                    if not self._problems and raw.num_rows:
                        yield pa.RecordBatch.from_arrays(columns, schema=schema)
        if self._problems:
            problems = "; ".join(
                f"{problem.what} in {problem.rows} row{'s' * (problem.rows > 1)}, the first is {problem.first}"
                for problem in self._problems.values()
            )
            raise BadInput(f"{problems}; correct or remove them")
        if not total:
            raise BadInput(f"{self.files[0].file} has no interactions; name a file with at least one")

    def _column(self, raw: pa.RecordBatch, name: str, file: DataFile, before: int) -> pa.Array:
        column = _plain(raw[name])
        if name == "timestamp":
            found = self.clock.read(column)
            self._note("timestamp", pc.is_null(found), column, file, before)
            return found
        if name in ("user_id", "content_id"):
            found, shown = _ids(column)
            missing = pc.fill_null(pc.equal(found, ""), True)
            self._note(name, missing, shown, file, before)
            return found
        return column.cast(self.kept.field(name).type)

    def _note(self, name: str, bad: pa.Array, column: pa.Array, file: DataFile, before: int) -> None:
        rows = pc.sum(bad).as_py() or 0
        if not rows:
            return
        if name not in self._problems:
            place = pc.index(bad, True).as_py()
            value = values_of(column[place : place + 1])[0]
            shown = "" if value in (None, "") else f" ({str(value)[:60]!r})"
            what = "no readable timestamp" if name == "timestamp" else f"no {name}"
            self._problems[name] = _Problem(
                what, first=f"row {before + place + 1} of {os.path.basename(file.shown)}{shown}"
            )
        self._problems[name].rows += rows


def _check_columns(part: Part, schema: pa.Schema, keep: Sequence[str] | None) -> None:
    file, names = part.file, schema.names
    if not names:
        raise BadInput(f"{file} is empty; a line with the names of the columns comes first")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{file} has two columns {twice!r}; rename one")
    if missing := [name for name in NEEDED if name not in names]:
        raise BadInput(f"{file} has no column {', '.join(missing)}, only {', '.join(names)}; rename what holds it")
    if unknown := [name for name in keep or () if name not in names]:
        raise BadInput(f"{file} has no column {unknown[0]!r} to keep; {hint(unknown[0], names)}")


def _kept(schema: pa.Schema, keep: Sequence[str] | None) -> pa.Schema:
    names = [name for name in (schema.names if keep is None else keep) if name not in NEEDED]
    types = {"event": pa.string(), "weight": pa.float64()}
    return pa.schema([(name, types.get(name, _plain_type(schema.field(name).type))) for name in names])


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{name} ({schema.field(name).type})" for name in schema.names) or "none"


def _ids(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """-> (the ids as text, null where one is missing or cannot be read; how messages show them)."""
    if not is_id(column.type):
        found = column.cast(pa.string())
        return found, found
    try:
        found = texts_of(column, ids=True)
        return found, found
    except pa.ArrowInvalid:
        values = values_of(column, ids=True)
        texts = [None if isinstance(value, Unreadable) else value for value in values]
        return pa.array(texts, pa.string()), pa.array([None if value is None else str(value) for value in values])


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
