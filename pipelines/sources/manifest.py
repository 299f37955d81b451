"""A manifest: one item a row, in one file or in parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.core.text import storable
from fuseid.pipelines.files.data_file import SEPARATORS
from fuseid.pipelines.sources.item import MANIFEST_COLUMNS, SourceItem, canonical
from fuseid.pipelines.sources.parts import Part, opened_part
from fuseid.pipelines.sources.passed_over import PassedOver
from fuseid.pipelines.sources.rows import DELETED, Row, item_of, rows_of_file

# How many lines within text that look like rows are remembered: some 50 MB.
_MOST_WITHIN_TEXT = 1 << 18


class Manifest:
    """Rows with `content_id`, `uri` and/or `caption`, optional `kind`, `attributes` and `deleted`, in Parquet, JSONL,
    CSV or TSV; in several files as if they were one, in the order of their names.

    The folders `KEY=VALUE` that a part lies in are columns which the part itself lacks: of these names, or attributes.
    A field of the wrong type is the `problem` of its row. Iterating raises BadInput, with the line, for a missing
    column, a line that cannot be read, or no usable content_id; also if a file changes meanwhile.
    """

    def __init__(
        self,
        path: Path | str,
        parts: Sequence[Part] | None = None,
        base: Path | str | None = None,
        config: SourceConfig | None = None,
        passed_over: PassedOver | None = None,
        incomplete: str | None = None,
    ) -> None:
        """path: what the user named; by default a local file, and the base its folder. parts: all of one format."""
        self.path = path
        self.base: Path | str = Path(path).resolve().parent if base is None else base
        self.ignored: tuple[str, ...] = ()
        self.passed_over = passed_over or PassedOver()
        self.incomplete = incomplete
        self._parts = parts or (Part.of(str(path)),)
        self._config = config or SourceConfig()
        self._within_text: dict[bytes, str] = {}
        self._withdraws_only = False

    @property
    def notes(self) -> list[str]:
        return [self.incomplete] if self.incomplete else []

    def line_within_text(self, content_id: str) -> str | None:
        """After iteration: the line within a quoted field of a CSV that would be this item's row if the quote before it
        were missing, and its file; None if there is no such line."""
        return self._within_text.get(_digest(content_id))

    def __iter__(self) -> Iterator[SourceItem]:
        self._within_text.clear()
        self.ignored = ()
        for part in self._parts:
            with opened_part(part, self._config) as file:
                self._format = file.format
                self._shown = file.shown
                self._folders = part.columns
                for where, row in rows_of_file(file, self._check_columns, self._note_within_text):
                    yield self._item(where, row) if part.columns else item_of(where, row, self._withdraws_only)

    def _item(self, where: str, row: Row) -> SourceItem:
        """The item of a row of a part in folders `KEY=VALUE`."""
        columns = {name: value for name, value in self._folders if name not in row}
        item = item_of(where, {**columns, **row}, self._withdraws_only)
        others = {name: value for name, value in columns.items() if name not in _READ and value is not None}
        if item.problem is not None or item.deleted or not others:
            return item
        return replace(item, attributes=canonical({**others, **json.loads(item.attributes)}))

    def _check_columns(self, names: list[str]) -> list[str]:
        all_names = {*names, *(name for name, _ in self._folders)}
        if "content_id" not in names or not {"uri", "caption", DELETED} & all_names:
            missing = "content_id" if "content_id" not in names else "uri or caption"
            raise BadInput(f"{self._shown} has no column {missing}; it has {', '.join(names) or 'none'}")
        ignored = (name for name in names if name not in _READ)
        self.ignored = tuple(dict.fromkeys([*self.ignored, *ignored]))
        # Each row of JSONL has its own columns.
        self._withdraws_only = self._format != "jsonl" and not {"uri", "caption"} & all_names
        return [name for name in _READ if name in names]

    def _note_within_text(self, record: list[str], first: int, names: list[str]) -> None:
        """Remembers lines of a record that look like rows: of two misplaced quotes, the second may close the field that
        the first one opened, which makes valid CSV and hides the rows between them."""
        separator = SEPARATORS[self._format]
        for number, line in enumerate(record[1:], first + 1):
            if line.count(separator) == len(names) - 1 and len(self._within_text) < _MOST_WITHIN_TEXT:
                content_id = line.split(separator)[names.index("content_id")].strip('"\r\n')
                self._within_text[_digest(storable(content_id))] = f"line {number} of {self._shown}"


_READ = (*MANIFEST_COLUMNS, DELETED)


def _digest(content_id: str) -> bytes:
    return hashlib.blake2b(content_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
