"""Rows of CSV, read strictly as RFC 4180 defines it, and of the same with tabs: a misplaced quote would hide rows."""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from fuseid.core.errors import BadInput
from fuseid.pipelines.files.data_file import SEPARATORS, DataFile
from fuseid.pipelines.sources.item import SIDECAR_BYTES

_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
# Any field, with the separator or the end of the record after it. Between tabs a quote may be part of a field that is
# not in quotes: whether quotes have a meaning there or not, the same rows are read.
_FIELDS = {
    ",": re.compile(rf'(?:{_QUOTED.pattern}|[^",\r\n]*+)(,|[\r\n]*\Z)'),
    "\t": re.compile(rf'(?:{_QUOTED.pattern}|(?:[^"\t\r\n][^\t\r\n]*+)?)(\t|[\r\n]*\Z)'),
}
# Longer than any field may be, so that a field that is too long is what a message is about.
_MOST_CHARS = 4 * SIDECAR_BYTES


def delimited_rows(
    file: DataFile, check: Callable[[list[str]], object], note: Callable[[list[str], int, list[str]], None]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file of format csv or tsv, each with the number of its first line.

    check: called with the names of the columns. note: called before each row with the lines of its record, the number
    of the first one, and the names. Raises BadInput, with the line.
    """
    # The limit is one for the whole process. It bounds what is read after a quote that is never closed.
    csv.field_size_limit(SIDECAR_BYTES)
    separator = SEPARATORS[file.format]
    record: list[str] = []
    names: list[str] | None = None
    with file.lines(_MOST_CHARS, newline="") as lines:
        reader = csv.reader(_recorded(lines, record), delimiter=separator, strict=True)
        while True:
            first = reader.line_num + 1
            record.clear()
            try:
                fields = next(reader, None)
            except csv.Error as error:
                refusal = _misplaced_quote(record, first, separator) or f"line {first} is no {file.format.upper()}"
                raise BadInput(f"{file.shown}, {refusal} ({error})") from None
            if any("\0" in line for line in record):
                raise BadInput(f"{file.shown}, line {first} holds a NUL byte: the file is damaged, or not UTF-8")
            # The csv module accepts a quote within an unquoted field as text.
            if any('"' in line for line in record) and (what := _misplaced_quote(record, first, separator)):
                raise BadInput(f"{file.shown}, {what}")
            if names is None:
                names = fields or []
                if problem := file.separator_problem(names):
                    raise BadInput(problem)
                check(names)
            elif fields is None:
                return
            elif fields and len(fields) != len(names):
                few = "fewer" if len(fields) < len(names) else "more"
                raise BadInput(
                    f"{file.shown}, line {first} has {few} fields than the header: {len(fields)} of {len(names)}"
                )
            elif fields:
                note(record, first, names)
                yield first, dict(zip(names, fields, strict=True))


def _recorded(lines: Iterable[str], record: list[str]) -> Iterator[str]:
    """The lines, each also appended to `record`."""
    for line in lines:
        record.append(line)
        yield line


def _misplaced_quote(record: list[str], first: int, separator: str) -> str | None:
    """What is wrong with the first misplaced quote of a record, and in which line; None if no quote is misplaced.

    record: the lines of the record that were read so far; first: the number of the first one.
    """
    text, at = "".join(record), 0
    while match := _FIELDS[separator].match(text, at):
        if match[1] != separator:
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
