"""The protocol of a format of exported IDs, which the other modules of this folder implement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from fuseid.pipelines.exports.columns import ExportInfo


class ExportFormat(Protocol):
    """A module of `formats`. A format with deltas also has `write_delta`, see `DeltaFormat`.

    NAME: on the command line; COLLISIONS: how it represents items of equal codes; EXTRA: columns of a snapshot that it
    needs after content_id, codes and suffix; SORTED: whether items have to be sorted by content_id.
    """

    NAME: str
    COLLISIONS: str
    EXTRA: tuple[str, ...]
    SORTED: bool

    def write(self, items: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
        """Writes the files of the format into an empty folder; the same items give the same bytes.

        items: `info.items` of them, in any order unless `SORTED`. Raises BadInput if the format cannot represent such
        codes.
        """


class DeltaFormat(ExportFormat, Protocol):
    def write_delta(self, changes: Iterator[pa.RecordBatch], folder: Path, info: ExportInfo) -> None:
        """Adds the changes since an earlier export to the folder that `write` has written."""
