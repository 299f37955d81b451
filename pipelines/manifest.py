"""A manifest: Parquet, JSONL or CSV, one item a row."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput
from fuseid.pipelines.listed import Listed, canonical, storable, without_surrogates
from fuseid.pipelines.uris import RemoteUri

COLUMNS = ("content_id", "uri", "caption", "kind", "attributes")
SUFFIXES = (".parquet", ".jsonl", ".csv")


class Manifest:
    """Parquet, JSONL or CSV with `content_id`, `uri` and/or `caption`, optional `kind` and `attributes`.

    Iterating raises BadInput, with the line, for a missing column, a line that cannot be read, or an empty content_id.
    """

    def __init__(self, path: Path, uri: RemoteUri | None = None) -> None:
        """uri: where `path` was copied from."""
        self.path = path if uri is None else uri
        self.base: Path | str = path.resolve().parent if uri is None else str(uri.folder)
        self.ignored: tuple[str, ...] = ()
        self._file = path

    def __iter__(self) -> Iterator[Listed]:
        read = {".parquet": self._parquet, ".jsonl": self._jsonl, ".csv": self._csv}[self._file.suffix]
        try:
            for number, row in enumerate(read(), 1):
                yield self.listed(number, row)
        except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"cannot read manifest {self.path}: {str(error).splitlines()[0]}") from None

    def listed(self, number: int, row: dict[str, Any]) -> Listed:
        """One row, by its number from 1."""
        content_id = row.get("content_id")
        if isinstance(content_id, int) and not isinstance(content_id, bool):
            content_id = str(content_id)
        if not isinstance(content_id, str) or not content_id:
            raise BadInput(f"{self.path}, row {number}: content_id is {content_id!r}; every row needs one, as text")
        for name in ("uri", "caption", "kind"):
            if row.get(name) is not None and not isinstance(row[name], str):
                raise BadInput(f"{self.path}, row {number}: {name} must be text, got {row[name]!r}")
        return Listed(
            storable(content_id),
            storable(row.get("uri") or "") or None,
            without_surrogates(row.get("caption")) or None,
            storable(row.get("kind") or "") or None,
            self._attributes(number, row.get("attributes")),
        )

    def _attributes(self, number: int, value: Any) -> str:
        if isinstance(value, str) and value:
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise BadInput(f"{self.path}, row {number}: attributes are no JSON object: {value[:80]!r}") from None
        if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):  # a Parquet map
            value = dict(value)
        if value and not isinstance(value, dict):
            raise BadInput(f"{self.path}, row {number}: attributes must be an object, got {value!r}")
        return canonical(value or {})

    def _check_columns(self, names: list[str]) -> None:
        if "content_id" not in names or not {"uri", "caption"} & set(names):
            missing = "content_id" if "content_id" not in names else "uri or caption"
            raise BadInput(f"{self.path} has no column {missing}; it has {', '.join(names) or 'none'}")
        self.ignored = tuple(name for name in names if name not in COLUMNS)

    def _parquet(self) -> Iterator[dict[str, Any]]:
        file = pq.ParquetFile(self._file)
        names = file.schema_arrow.names
        self._check_columns(names)
        for batch in file.iter_batches(batch_size=4096, columns=[name for name in COLUMNS if name in names]):
            yield from batch.to_pylist()

    def _jsonl(self) -> Iterator[dict[str, Any]]:
        checked = False
        with self._file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise BadInput(f"{self.path}, line {number} is not JSON: {error}") from None
                if not isinstance(row, dict):
                    raise BadInput(f"{self.path}, line {number} must be a JSON object, got {type(row).__name__}")
                if not checked:
                    self._check_columns(list(row))
                    checked = True
                yield row

    def _csv(self) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(sys.maxsize)
        with self._file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restkey="")
            self._check_columns(list(reader.fieldnames or []))
            for row in reader:
                if "" in row:
                    raise BadInput(f"{self.path}, line {reader.line_num} has more fields than the header")
                yield row
