"""A manifest: Parquet, JSONL or CSV, one item a row."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadField, BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.text import storable
from fuseid.pipelines.files.remote_uri import RemoteUri
from fuseid.pipelines.sources.item import (
    MANIFEST_COLUMNS,
    SIDECAR_BYTES,
    SourceItem,
    attributes_field,
    flag_field,
    shortened,
    text_field,
    unchanging,
    without_surrogates,
)

# A row with it withdraws its item, and needs no other column than content_id.
DELETED = "deleted"
# How a CSV writes the values of that column, in any case.
_FLAGS = {"": None, "true": True, "1": True, "false": False, "0": False}
SUFFIXES = (".parquet", ".jsonl", ".csv")
# Python refuses to make an int of many more digits; such numbers stay text.
_DIGITS = 4000
_JSON = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS else digits)
# The tokens of a line of JSON that decide how deeply a bracket is nested.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]')
# A quoted field of CSV; and any field as RFC 4180 defines it, with the comma or the end of the record after it.
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_FIELD = re.compile(rf'(?:{_QUOTED.pattern}|[^",\r\n]*+)(,|[\r\n]*\Z)')

# How many lines within text that look like rows are remembered: some 50 MB.
_MOST_WITHIN_TEXT = 1 << 18

Row = dict[str, Any]


class Manifest:
    """Parquet, JSONL or CSV with `content_id`, `uri` and/or `caption`, optional `kind`, `attributes` and `deleted`.

    A field of the wrong type is the `problem` of its row. Iterating raises BadInput, with the line, for a missing
    column, a line that cannot be read, or no usable content_id; also if the file changes meanwhile.
    """

    def __init__(self, path: Path, uri: RemoteUri | None = None) -> None:
        """uri: where `path` was copied from."""
        self.path = path if uri is None else uri
        self.base: Path | str = path.resolve().parent if uri is None else str(uri.folder)
        self.ignored: tuple[str, ...] = ()
        self._file = path
        self._within_text: dict[bytes, int] = {}
        self._withdraws_only = False

    def line_within_text(self, content_id: str) -> int | None:
        """After iteration: the line within a quoted field of a CSV that would be this item's row if the quote before it
        were missing; None if there is no such line."""
        return self._within_text.get(_digest(content_id))

    def __iter__(self) -> Iterator[SourceItem]:
        for where, row in self.rows():
            yield self.item(where, row)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """The rows, each with how a message names it."""
        read = {".parquet": self._parquet, ".jsonl": self._jsonl, ".csv": self._csv}[self._file.suffix]
        try:
            with unchanging(self._file, self.path):
                for number, (line, row) in enumerate(read(), 1):
                    yield f"row {number}" if line is None else f"row {number} (line {line})", row
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise unusable(f"cannot read manifest {self.path}: {reason(error)}", error) from None

    def content_id(self, where: str, row: Row) -> str:
        """Raises BadInput if the row has none. where: how a message names the row."""
        content_id = row.get("content_id")
        if isinstance(content_id, int) and not isinstance(content_id, bool):
            content_id = str(content_id)
        if not isinstance(content_id, str) or not content_id:
            got = shortened(content_id)
            raise BadInput(f"{self.path}, {where}: content_id is {got}; every row needs one, as text")
        return storable(content_id)

    def item(self, where: str, row: Row) -> SourceItem:
        """The item of a row. where: how a message names the row."""
        content_id = self.content_id(where, row)
        texts: dict[str, str | None] = {}
        attributes, problem = "{}", None
        try:
            if flag_field(row, DELETED):
                return SourceItem(content_id, deleted=True)
            for name in ("uri", "caption", "kind"):
                texts[name] = text_field(row, name)
            attributes = attributes_field(row.get("attributes"))
        except (TypeError, ValueError) as error:
            problem = BadField(str(error))
        if self._withdraws_only and problem is None:
            raise BadInput(
                f"{self.path}, {where}: {shortened(content_id)} is not deleted, and the file has no column uri or "
                "caption that says what it is"
            )
        return SourceItem(
            content_id,
            storable(texts.get("uri") or "") or None,
            without_surrogates(texts.get("caption")),
            storable(texts.get("kind") or "") or None,
            attributes,
            problem=problem,
        )

    def _check_columns(self, names: list[str]) -> None:
        if "content_id" not in names or not {"uri", "caption", DELETED} & set(names):
            missing = "content_id" if "content_id" not in names else "uri or caption"
            raise BadInput(f"{self.path} has no column {missing}; it has {', '.join(names) or 'none'}")
        self.ignored = tuple(name for name in names if name not in (*MANIFEST_COLUMNS, DELETED))
        # Each row of JSONL has its own columns.
        self._withdraws_only = self._file.suffix != ".jsonl" and not {"uri", "caption"} & set(names)

    def _parquet(self) -> Iterator[tuple[None, Row]]:
        file = pq.ParquetFile(self._file)
        names = file.schema_arrow.names
        self._check_columns(names)
        for batch in file.iter_batches(
            batch_size=4096, columns=[n for n in (*MANIFEST_COLUMNS, DELETED) if n in names]
        ):
            for row in rows_of(batch):
                yield None, row

    def _jsonl(self) -> Iterator[tuple[int, Row]]:
        checked = False
        with self._file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = _parsed(line)
                except (ValueError, RecursionError) as error:
                    raise BadInput(f"{self.path}, line {number} is not JSON: {reason(error)}") from None
                if not isinstance(row, dict):
                    raise BadInput(f"{self.path}, line {number} must be a JSON object, got {type(row).__name__}")
                if not checked:
                    self._check_columns(list(row))
                    checked = True
                yield number, row

    def _csv(self) -> Iterator[tuple[int, Row]]:
        # The limit is one for the whole process. It bounds what is read after a quote that is never closed.
        csv.field_size_limit(SIDECAR_BYTES)
        record: list[str] = []
        names: list[str] | None = None
        with self._file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(_recorded(lines, record), strict=True)
            while True:
                first = reader.line_num + 1
                record.clear()
                try:
                    fields = next(reader, None)
                except csv.Error as error:
                    refusal = _misplaced_quote(record, first) or f"line {first} is no CSV"
                    raise BadInput(f"{self.path}, {refusal} ({error})") from None
                if any("\0" in line for line in record):
                    raise BadInput(f"{self.path}, line {first} holds a NUL byte: the file is damaged, or not UTF-8")
                # The csv module accepts a quote within an unquoted field as text.
                if any('"' in line for line in record) and (what := _misplaced_quote(record, first)):
                    raise BadInput(f"{self.path}, {what}")
                if names is None:
                    names = fields or []
                    self._check_columns(names)
                elif fields is None:
                    return
                elif fields and len(fields) != len(names):
                    few = "fewer" if len(fields) < len(names) else "more"
                    raise BadInput(
                        f"{self.path}, line {first} has {few} fields than the header: {len(fields)} of {len(names)}"
                    )
                elif fields:
                    self._note_within_text(record, first, names)
                    row: Row = dict(zip(names, fields, strict=True))
                    if DELETED in row:
                        row[DELETED] = _FLAGS.get(row[DELETED].strip().lower(), row[DELETED])
                    yield first, row

    def _note_within_text(self, record: list[str], first: int, names: list[str]) -> None:
        """Remembers lines of a record that look like rows: of two misplaced quotes, the second may close the field that
        the first one opened, which makes valid CSV and hides the rows between them."""
        for number, line in enumerate(record[1:], first + 1):
            if line.count(",") == len(names) - 1 and len(self._within_text) < _MOST_WITHIN_TEXT:
                content_id = line.split(",")[names.index("content_id")].strip('"\r\n')
                self._within_text[_digest(storable(content_id))] = number


def _digest(content_id: str) -> bytes:
    return hashlib.blake2b(content_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _Unreadable:
    """A value that cannot be made a Python object, such as text that is not UTF-8."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __repr__(self) -> str:
        return f"an unreadable value ({reason(self._error)})"


def rows_of(batch: pa.RecordBatch) -> list[Row]:
    """The rows as dictionaries, with _Unreadable for a value that cannot be read."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        columns = [map(_value, column) for column in batch.columns]
        return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return _Unreadable(error)


def _parsed(line: str) -> Any:
    """A line of JSON; if it is nested too deeply to be read, fields with nested values become _Unreadable."""
    try:
        return _JSON.decode(line)
    except RecursionError:
        kept, depth, start = [], 0, 0
        for token in _TOKEN.finditer(line):
            if token[0] in "[{":
                depth += 1
                if depth == 2:
                    kept.append(line[start : token.start()])
            elif token[0] in "]}":
                depth -= 1
                if depth == 1:
                    kept.append("NaN")
                    start = token.end()
        shallow = "".join([*kept, line[start:]])
        return json.loads(shallow, parse_constant=lambda _: _Unreadable(ValueError("nested too deeply")))


def _recorded(lines: Iterable[str], record: list[str]) -> Iterator[str]:
    """The lines, each also appended to `record`."""
    for line in lines:
        record.append(line)
        yield line


def _misplaced_quote(record: list[str], first: int) -> str | None:
    """What is wrong with the first misplaced quote of a record, and in which line; None if no quote is misplaced.

    record: the lines of the record that were read so far; first: the number of the first one.
    """
    text, at = "".join(record), 0
    while match := _FIELD.match(text, at):
        if match[1] != ",":
            return None
        at = match.end()
    quote = text.find('"', at)
    if quote < 0:
        return None
    ends = list(accumulate(map(len, record)))
    opens = first + bisect_right(ends, quote)
    if quote != at:
        return (
            f"line {opens}: a quote within a field that is not in quotes; write the field in quotes and the quote "
            'twice, as in "5"" screen"'
        )
    closed = _QUOTED.match(text, at)
    if closed is None:
        return f"line {opens}: the quote that opens here is never closed"
    closes = first + bisect_right(ends, closed.end() - 1)
    begun = "" if closes == opens else f", whose first one is on line {opens} and may lack the quote that closes it"
    return (
        f"line {closes}: text follows the quote that closes a field{begun}; a quote that belongs to the text is "
        "written twice"
    )
