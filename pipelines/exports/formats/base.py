"""What a format of exported IDs is: the protocol that the modules beside this one meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from fuseid.pipelines.exports.columns import ExportInfo


class ExportFormat(Protocol):
    """A module of `formats`. A format that knows deltas has `write_delta` too, see `DeltaFormat`.

    NAME: on the command line; COLLISIONS: how it holds items of equal codes; EXTRA: columns of a snapshot that it
    wants behind content_id, codes and suffix; SORTED: whether items have to come sorted by content_id.
    """

    NAME: str
    COLLISIONS: str
    EXTRA: tuple[str, ...]
    SORTED: bool

    def write(self, items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
        """Writes the files of the format into an empty folder; the same items give the same bytes.

        items: `info.items` of them, in any order where not `SORTED`. Raises BadInput where the format cannot hold such
        codes.
        """


class DeltaFormat(ExportFormat, Protocol):
    def write_delta(self, changes: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
        """Adds to what `write` left in the folder what has changed since an earlier export."""
