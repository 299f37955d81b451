"""A list of content_ids: a file of text, CSV, JSONL or Parquet, read as a stream and held on disk, each id once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import command
from fuseid.core.text import storable
from fuseid.encoders.blocks import blocks
from fuseid.pipelines.sources.item import shortened, unchanging
from fuseid.pipelines.sources.manifest import SUFFIXES, Manifest
from fuseid.pipelines.streams.spill import Spill, hash_parts

_BATCH = 16_384
_PARTS = 64
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
    """The ids in a file: `.txt` with one a line; or `.parquet`, `.csv` or `.jsonl` with a column `content_id`.

    Raises BadInput for another suffix and a missing file; iterating, for a missing column, an id that is empty or null
    and a row that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.suffix not in (".txt", *SUFFIXES):
            raise BadInput(f"{path}: a list of ids is .txt, .csv, .jsonl or .parquet")
        if not self.path.is_file():
            raise BadInput(f"no such list of ids: {path}")

    def __iter__(self) -> Iterator[str]:
        read = {".txt": self._lines, ".parquet": self._parquet}.get(self.path.suffix, self._rows)
        try:
            with unchanging(self.path, self.path):
                yield from read()
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise unusable(f"cannot read {self.path}: {reason(error)}", error) from None

    def _lines(self) -> Iterator[str]:
        with self.path.open(encoding="utf-8-sig", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                content_id = line.removesuffix("\n").removesuffix("\r")
                if not content_id:
                    raise BadInput(f"{self.path}, line {number} is empty; every line needs a content_id")
                yield content_id

    def _rows(self) -> Iterator[str]:
        rows = _Rows(self.path)
        for where, row in rows.rows():
            yield rows.content_id(where, row)

    def _parquet(self) -> Iterator[str]:
        file = pq.ParquetFile(self.path)
        _check_column(self.path, file.schema_arrow.names)
        kind = file.schema_arrow.field("content_id").type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not any(is_kind(kind) for is_kind in (*_TEXTS, pa.types.is_integer)):
            raise BadInput(f"{self.path}: column content_id must hold text, got {kind}")
        numbers = count(1)
        for batch in file.iter_batches(batch_size=_BATCH, columns=["content_id"]):
            ids = batch["content_id"].cast(pa.string()).to_pylist()
            # The numbers come second: zip would take one too many of them at the end of a batch.
            for content_id, number in zip(ids, numbers, strict=False):
                if not content_id:
                    got = shortened(content_id)
                    raise BadInput(f"{self.path}, row {number}: content_id is {got}; every row needs one, as text")
                yield content_id


_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


class _Rows(Manifest):
    """The rows of CSV or JSONL, as a manifest has them; only content_id is needed."""

    def _check_columns(self, names: list[str]) -> None:
        _check_column(self.path, names)


def _check_column(path: object, names: list[str]) -> None:
    if "content_id" not in names:
        raise BadInput(f"{path} has no column content_id; it has {', '.join(names) or 'none'}")
    if "deleted" in names:
        raise BadInput(
            f"{path} has a column deleted, so it is a manifest and not a list of items to remove: "
            f"{command('ingest', 'DB', str(path))} "
            "removes those that it marks"
        )


def given_ids(ids: Iterable[str]) -> Iterator[str]:
    """Ids that a program gives, in the form in which the store holds text. Raises BadInput for one that is empty or not
    text."""
    for number, content_id in enumerate(ids, 1):
        if not isinstance(content_id, str) or not content_id:
            raise BadInput(f"id {number} is {shortened(content_id)}; every id must be text that is not empty")
        yield storable(content_id)
