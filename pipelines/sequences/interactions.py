"""Interactions of users with items: Parquet or CSV files, read and checked batch by batch."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.exports.folder import file_hash
from fuseid.pipelines.sequences.clock import UTC_TIME, Clock

NEEDED = ("user_id", "content_id", "timestamp")
EVENTS = pa.schema([("user_id", pa.string()), ("content_id", pa.string()), ("timestamp", UTC_TIME)])
_ROWS = 1 << 18
_CSV_BLOCK = 1 << 23
_READ_BYTES = 1 << 20
# The number of events in a CSV is estimated from its size; the estimate only decides how many files are written.
_CSV_EVENT_BYTES = 40


@dataclass
class _Problem:
    """Rows in which a value is missing or cannot be read."""

    what: str
    rows: int = 0
    first: str = ""


@dataclass
class Interactions:
    """kept: columns besides the needed ones, with the names and types that they have in all files."""

    files: list[Path]
    kept: pa.Schema
    clock: Clock
    _problems: dict[str, _Problem] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, clock: Clock | None = None, keep: Sequence[str] | None = None) -> Interactions:
        """path: a `.parquet` or `.csv` file, or a folder of files of one of these kinds, read by name. keep: the
        other columns to keep, by default all; `event` is then text and `weight` a number.

        Raises BadInput for a path that is missing or of an unknown kind, and for files without the columns.
        """
        files = _files(path)
        schemas = [_schema(file) for file in files]
        for file, schema in zip(files, schemas, strict=True):
            _check_columns(file, schema, keep)
        kept = _kept(schemas[0], keep)
        for file, schema in zip(files, schemas, strict=True):
            if not (other := _kept(schema, keep)).equals(kept):
                raise BadInput(
                    f"{file} has other columns than {files[0]}: {_listed(other)}, not {_listed(kept)}; "
                    f"make them alike, or name those to keep with {option('keep')}"
                )
        return cls(files, kept, clock or Clock())

    def estimated_events(self) -> int:
        """Exact for Parquet, estimated by size for CSV."""
        if self.files[0].suffix == ".csv":
            return sum(file.stat().st_size for file in self.files) // _CSV_EVENT_BYTES
        return sum(pq.read_metadata(file).num_rows for file in self.files)

    def facts(self) -> list[dict[str, Any]]:
        """The name, size in bytes and BLAKE2b-128 of each file."""
        return [{"name": file.name, "bytes": file.stat().st_size, "blake2b": file_hash(file)} for file in self.files]

    def batches(self, csv_block: int = _CSV_BLOCK) -> Iterator[pa.RecordBatch]:
        """EVENTS and the kept columns, in the order of the files. csv_block: bytes of a CSV that are read at a time.

        Raises BadInput: at once for a file that cannot be read and for time stamps of no clear meaning; at the end,
        with counts and the first row of each kind, if rows lack a user, an item or a readable time stamp.
        """
        self._problems.clear()
        schema = pa.schema([*EVENTS, *self.kept])
        total = 0
        for file in self.files:
            with _readable(file):
                row = 0
                for raw in _raw_batches(file, [*NEEDED, *self.kept.names], self.kept, csv_block):
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
            raise BadInput(f"{self.files[0]} has no interactions; name a file with at least one")

    def _column(self, raw: pa.RecordBatch, name: str, file: Path, before: int) -> pa.Array:
        column = _plain(raw[name])
        if name == "timestamp":
            found = self.clock.read(column)
            self._note("timestamp", pc.is_null(found), column, file, before)
            return found
        if name in ("user_id", "content_id"):
            found = column.cast(pa.string())
            missing = pc.fill_null(pc.equal(found, ""), True)
            self._note(name, missing, found, file, before)
            return found
        return column.cast(self.kept.field(name).type)

    def _note(self, name: str, bad: pa.Array, column: pa.Array, file: Path, before: int) -> None:
        rows = pc.sum(bad).as_py() or 0
        if not rows:
            return
        if name not in self._problems:
            place = pc.index(bad, True).as_py()
            value = column[place].as_py()
            shown = "" if value in (None, "") else f" ({str(value)[:60]!r})"
            what = "no readable timestamp" if name == "timestamp" else f"no {name}"
            self._problems[name] = _Problem(what, first=f"row {before + place + 1} of {file.name}{shown}")
        self._problems[name].rows += rows


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(
            file for file in path.iterdir() if file.suffix in (".parquet", ".csv") and file.name[0] not in "._"
        )
        if not files:
            raise BadInput(f"{path} has no .parquet or .csv file")
    else:
        files = [path]
    if not files[0].is_file():
        raise BadInput(f"no file {path}; {option('interactions')} names a .parquet or .csv file, or a folder of them")
    kinds = {file.suffix for file in files}
    if len(kinds) > 1 or not kinds <= {".parquet", ".csv"}:
        raise BadInput(f"{path} is not all .parquet or all .csv; interactions are read from one kind")
    return files


def _schema(file: Path) -> pa.Schema:
    with _readable(file):
        if file.suffix == ".parquet":
            return pq.read_schema(file)
        with file.open(encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
    types = {"weight": pa.float64()}
    return pa.schema([(name, types.get(name, pa.string())) for name in header])


def _check_columns(file: Path, schema: pa.Schema, keep: Sequence[str] | None) -> None:
    names = schema.names
    if not names:
        raise BadInput(f"{file} is empty; a line with the names of the columns comes first")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{file} has two columns {twice!r}; rename one")
    if missing := [name for name in NEEDED if name not in names]:
        raise BadInput(f"{file} has no column {', '.join(missing)}, only {', '.join(names)}; rename what holds it")
    if unknown := [name for name in keep or () if name not in names]:
        raise BadInput(f"{file} has no column {', '.join(unknown)} to keep; there is {', '.join(names)}")


def _kept(schema: pa.Schema, keep: Sequence[str] | None) -> pa.Schema:
    names = [name for name in (schema.names if keep is None else keep) if name not in NEEDED]
    types = {"event": pa.string(), "weight": pa.float64()}
    return pa.schema([(name, types.get(name, _plain_type(schema.field(name).type))) for name in names])


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{name} ({schema.field(name).type})" for name in schema.names) or "none"


def _raw_batches(file: Path, names: list[str], kept: pa.Schema, csv_block: int) -> Iterator[pa.RecordBatch]:
    if file.suffix == ".parquet":
        # With read-ahead, the whole file would stay in memory until its end.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=_READ_BYTES) as opened:
            yield from opened.iter_batches(batch_size=_ROWS, columns=names)
        return
    # All columns are read as text and converted later: inferred types would differ from file to file, and would drop
    # the zeros of 007.
    types = {name: kept.field(name).type if name in kept.names else pa.string() for name in names}
    options = pa_csv.ConvertOptions(
        column_types=types, include_columns=names, null_values=[""], strings_can_be_null=True,
    )  # fmt: skip
    with pa_csv.open_csv(file, pa_csv.ReadOptions(block_size=csv_block), convert_options=options) as reader:
        yield from reader


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise unusable(f"cannot read {file}: {reason(error)}", error) from None
