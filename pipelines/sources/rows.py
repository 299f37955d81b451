"""Rows of Parquet, JSONL, CSV or TSV as dictionaries, and the items that they describe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadField, BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.text import storable
from fuseid.pipelines.files.compression import shown_by
from fuseid.pipelines.files.data_file import DataFile
from fuseid.pipelines.sources.delimited import delimited_rows
from fuseid.pipelines.sources.item import (
    SIDECAR_BYTES,
    SourceItem,
    attributes_field,
    flag_field,
    shortened,
    text_field,
    unchanging,
    without_surrogates,
)
from fuseid.pipelines.sources.texts import Unreadable, values_of

# A row with it withdraws its item, and needs no other column than content_id.
DELETED = "deleted"
# How a CSV writes the values of that column, in any case.
_FLAGS = {"": None, "true": True, "1": True, "false": False, "0": False}
# Python refuses to make an int of many more digits; such numbers stay text.
_DIGITS = 4000
_JSON = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS else digits)
# The tokens of a line of JSON that decide how deeply a bracket is nested.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]')
# Far longer than a line with the longest caption.
_MOST_CHARS = 8 * SIDECAR_BYTES
_BATCH = 4096

Row = dict[str, Any]
Names = list[str]


def no_note(record: list[str], first: int, names: Names) -> None:
    """See `delimited_rows`."""


def rows_of_file(
    file: DataFile,
    check: Callable[[Names], Names],
    note: Callable[[list[str], int, Names], None] = no_note,
) -> Iterator[tuple[str, Row]]:
    """The rows of a file, each with how a message names it: the file, the number of the row, and of its line.

    check: called with the names of the columns -> those to read. note: see `delimited_rows`. Raises BadInput for a file
    that cannot be read or changes meanwhile.
    """
    read = {"parquet": _parquet, "jsonl": _jsonl}.get(file.format)
    with reading(file):
        rows = read(file, check) if read is not None else _delimited(file, check, note)
        for number, (line, row) in enumerate(rows, 1):
            yield f"{file.shown}, row {number}{'' if line is None else f' (line {line})'}", row


@contextmanager
def reading(file: DataFile) -> Iterator[None]:
    """Inside, an error of a library about the file becomes one that names it: see `unusable`. Raises NotReady if the
    file changes meanwhile."""
    try:
        with unchanging(file.path, file.shown):
            yield
    except (OSError, pa.ArrowException) as error:
        raise unusable(f"cannot read {file.shown}: {reason(error)}", error) from None


def rows_of_batch(batch: pa.RecordBatch) -> list[Row]:
    """The rows as dictionaries, with Unreadable for a value that cannot be read."""
    names = batch.schema.names
    columns = [values_of(column, ids=name == "content_id") for name, column in zip(names, batch.columns, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def content_id_of(where: str, row: Row) -> str:
    """The content_id of a row. Raises BadInput if it has none. where: how a message names the row."""
    content_id = row.get("content_id")
    if isinstance(content_id, int) and not isinstance(content_id, bool):
        content_id = str(content_id)
    if not isinstance(content_id, str) or not content_id:
        got = shortened(content_id)
        raise BadInput(f"{where}: content_id is {got}; every row needs one, as text")
    return storable(content_id)


def item_of(where: str, row: Row, withdraws_only: bool = False) -> SourceItem:
    """The item of a row. where: how a message names the row. withdraws_only: the file has no column that says what an
    item is."""
    content_id = content_id_of(where, row)
    texts: dict[str, str | None] = {}
    attributes, problem = "{}", None
    try:
        if flag_field(row, DELETED):
            return SourceItem(content_id, deleted=True, place=where)
        for name in ("uri", "caption", "kind"):
            texts[name] = text_field(row, name)
        attributes = attributes_field(row.get("attributes"))
    except (TypeError, ValueError) as error:
        problem = BadField(str(error))
    if withdraws_only and problem is None:
        raise BadInput(
            f"{where}: {shortened(content_id)} is not deleted, and the file has no column uri or caption that says "
            "what it is"
        )
    return SourceItem(
        content_id,
        storable(texts.get("uri") or "") or None,
        without_surrogates(texts.get("caption")),
        storable(texts.get("kind") or "") or None,
        attributes,
        problem=problem,
        place=where,
    )


def _parquet(file: DataFile, check: Callable[[Names], Names]) -> Iterator[tuple[None, Row]]:
    with pq.ParquetFile(file.path) as opened:
        columns = check(opened.schema_arrow.names)
        for batch in opened.iter_batches(batch_size=_BATCH, columns=columns):
            for row in rows_of_batch(batch):
                yield None, row


def _jsonl(file: DataFile, check: Callable[[Names], Names]) -> Iterator[tuple[int, Row]]:
    checked = False
    with file.lines(_MOST_CHARS) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = _parsed(line)
            except (ValueError, RecursionError) as error:
                problem = f"{file.shown}, line {number} is not JSON: {reason(error)}"
                raise BadInput(f"{problem}{_remedy(file, number, line)}") from None
            if not isinstance(row, dict):
                raise BadInput(
                    f"{file.shown}, line {number} must be a JSON object, got {type(row).__name__}"
                    f"{_remedy(file, number, line)}"
                )
            if not checked:
                check(list(row))
                checked = True
            yield number, row


def _remedy(file: DataFile, number: int, line: str) -> str:
    """What to do if the file is one array in place of a line for each object."""
    is_array = number == 1 and line.lstrip().startswith("[")
    return (
        f"; if the file is one array: {shown_by(file.path, file.shown)} | jq -c '.[]' > NEW.jsonl" if is_array else ""
    )


def _delimited(
    file: DataFile, check: Callable[[Names], Names], note: Callable[[list[str], int, Names], None]
) -> Iterator[tuple[int, Row]]:
    for line, fields in delimited_rows(file, check, note):
        row: Row = fields  # type: ignore[assignment]
        if DELETED in row:
            row[DELETED] = _FLAGS.get(row[DELETED].strip().lower(), row[DELETED])
        yield line, row


def _parsed(line: str) -> Any:
    """A line of JSON; if it is nested too deeply to be read, fields with nested values become Unreadable."""
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
        return json.loads(shallow, parse_constant=lambda _: Unreadable(ValueError("nested too deeply")))
