"""A list of content_ids: text, CSV, TSV, JSONL or Parquet, read as a stream and held on disk, each id once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.core.surface import command
from fuseid.core.text import storable
from fuseid.encoders.blocks import blocks
from fuseid.pipelines.files.data_file import NAMES, TABLES, DataFile
from fuseid.pipelines.sources.item import shortened
from fuseid.pipelines.sources.parts import find_parts, local_named, opened_part
from fuseid.pipelines.sources.rows import content_id_of, reading, rows_of_file
from fuseid.pipelines.sources.texts import id_texts
from fuseid.pipelines.streams.spill import Spill, hash_parts

_BATCH = 16_384
_PARTS = 64
# Longer than any id.
_MOST_CHARS = 1 << 20
_SCHEMA = pa.schema([("number", pa.int64()), ("content_id", pa.string())])


class IdSet:
    """The distinct ids of a list. Iterating gives each of them with its place in the list, in the same order for the
    same ids; memory does not grow with their number."""

    def __init__(self, ids: Iterable[str], scratch: Path) -> None:
        """scratch: an existing folder for files. Raises what iterating the ids raises."""
        self._spill = Spill(scratch, "ids", _PARTS, _SCHEMA)
        self.listed = 0
        for batch in blocks(ids, _BATCH):
            numbers = pa.array(np.arange(self.listed, self.listed + len(batch)))
            rows = pa.table([numbers, pa.array(batch, pa.string())], schema=_SCHEMA)
            self._spill.write(rows, hash_parts(rows["content_id"], _PARTS))
            self.listed += len(batch)
        self._spill.close()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for part in range(_PARTS):
            rows = self._spill.read(part).group_by("content_id", use_threads=False).aggregate([("number", "min")])
            yield from zip(rows["number_min"].to_pylist(), rows["content_id"].to_pylist(), strict=True)


class IdList:
    """The ids in a file: `.txt` with one a line; or Parquet, CSV, TSV or JSONL with a column `content_id`; text also
    compressed. A folder or a pattern of such files is one list.

    Raises BadInput for files of another kind and a missing one; iterating, for a missing column, an id that is empty or
    null and a row that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not local_named(str(path)):
            raise BadInput(f"no such list of ids: {path}")
        self._parts = find_parts(str(path), ("txt", *TABLES), SourceConfig(), f"a list of ids is .txt, {NAMES}").parts

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            with opened_part(part, SourceConfig()) as file:
                yield from {"txt": _lines, "parquet": _parquet}.get(file.format, _rows)(file)


def _lines(file: DataFile) -> Iterator[str]:
    with reading(file), file.lines(_MOST_CHARS, newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            content_id = line.removesuffix("\n").removesuffix("\r")
            if not content_id:
                raise BadInput(f"{file.shown}, line {number} is empty; every line needs a content_id")
            yield content_id


def _rows(file: DataFile) -> Iterator[str]:
    for where, row in rows_of_file(file, lambda names: _checked(file, names)):
        yield content_id_of(where, row)


def _parquet(file: DataFile) -> Iterator[str]:
    with reading(file), pq.ParquetFile(file.path) as opened:
        columns = _checked(file, opened.schema_arrow.names)
        first = 0
        for batch in opened.iter_batches(batch_size=_BATCH, columns=columns):
            yield from id_texts(batch["content_id"], file.shown, first).to_pylist()
            first += batch.num_rows


def _checked(file: DataFile, names: list[str]) -> list[str]:
    if "content_id" not in names:
        raise BadInput(f"{file.shown} has no column content_id; it has {', '.join(names) or 'none'}")
    if "deleted" in names:
        raise BadInput(
            f"{file.shown} has a column deleted, so it is a manifest and not a list of items to remove: "
            f"{command('ingest', 'DB', file.shown)} removes those that it marks"
        )
    return ["content_id"]


def given_ids(ids: Iterable[str]) -> Iterator[str]:
    """Ids that a program gives, in the form in which the store holds text. Raises BadInput for one that is empty or not
    text."""
    for number, content_id in enumerate(ids, 1):
        if not isinstance(content_id, str) or not content_id:
            raise BadInput(f"id {number} is {shortened(content_id)}; every id must be text that is not empty")
        yield storable(content_id)
