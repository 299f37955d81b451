"""The formats that IDs are exported in, by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.formats import (
    forge,
    grid,
    minionerec,
    openonerec,
    parquet,
    static,
    torcheasyrec,
)
from fuseid.pipelines.exports.formats.about import About


class Format(Protocol):
    """A module of `formats`. A format that knows deltas has `write_delta` too, see `DeltaFormat`.

    NAME: on the command line; COLLISIONS: how it holds items of equal codes; EXTRA: columns of a snapshot that it
    wants behind content_id, codes and suffix; SORTED: whether items have to come sorted by content_id.
    """

    NAME: str
    COLLISIONS: str
    EXTRA: tuple[str, ...]
    SORTED: bool

    def write(self, items: Iterator[pa.RecordBatch], folder: Path, about: About) -> None:
        """Writes the files of the format into an empty folder; the same items give the same bytes.

        items: `about.items` of them, in any order where not `SORTED`. Raises BadInput where the format cannot hold such
        codes.
        """

    def read(self, folder: Path) -> pa.Table:
        """-> content_id, codes list<int32>, suffix int32, sorted by content_id. Raises BadInput; never unpickles."""


class DeltaFormat(Format, Protocol):
    def write_delta(self, changes: Iterator[pa.RecordBatch], folder: Path, about: About) -> None:
        """Adds to what `write` left in the folder what has changed since an earlier export."""


_ALL: list[Format] = [parquet, grid, minionerec, openonerec, forge, torcheasyrec, static]
FORMATS = {form.NAME: form for form in _ALL}


def format_named(name: str) -> Format:
    """Raises BadInput, naming all formats, where there is none of that name."""
    if name not in FORMATS:
        raise BadInput(f"no format is named {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]
