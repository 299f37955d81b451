"""What every reader of a format ends with, and how one tells of a file that is not what it should be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.columns import IDS, ExportInfo, lists_of, suffixes_of

_CAUSES = (OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError)


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a library says of a bad file into one BadInput line that names it."""
    try:
        yield
    except BadInput:
        raise
    except (*_CAUSES, pa.ArrowException) as error:
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(f"{path} is not {what}: {cause}; export it again") from None


def ids_table(content_ids: pa.Array, codes_NL: np.ndarray, digits_N: np.ndarray) -> pa.Table:
    """`IDS` sorted by content_id. Raises ValueError for values that no IDs can have, and for an item named twice."""
    if not len(content_ids) == len(codes_NL) == len(digits_N):
        raise ValueError(f"{len(content_ids)} items, {len(codes_NL)} codes, {len(digits_N)} collision digits")
    if content_ids.null_count or pc.count_distinct(content_ids).as_py() != len(content_ids):
        raise ValueError("an item without a content_id, or twice the same")
    for values in (codes_NL, digits_N):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"codes of type {values.dtype}")
        if values.size and not (0 <= values.min() <= values.max() <= np.iinfo(np.int32).max):
            raise ValueError(f"codes from {values.min()} to {values.max()}")
    columns = [content_ids.cast(pa.string()), lists_of(codes_NL), suffixes_of(digits_N.astype(np.int32))]
    return pa.Table.from_arrays(columns, schema=IDS).sort_by("content_id")


class ExportFormat(Protocol):
    """A module of `formats`. A format that knows deltas has `write_delta` too, see `DeltaFormat`.

    NAME: on the command line; COLLISIONS: how it holds items of equal codes; EXTRA: columns of a snapshot that it
    wants behind content_id, codes and suffix; SORTED: whether items have to come sorted by content_id.
    """

    NAME: str
    COLLISIONS: str
    EXTRA: tuple[str, ...]
    SORTED: bool

    def write(self, items: Iterator[pa.RecordBatch], folder: Path, about: ExportInfo) -> None:
        """Writes the files of the format into an empty folder; the same items give the same bytes.

        items: `about.items` of them, in any order where not `SORTED`. Raises BadInput where the format cannot hold such
        codes.
        """

    def read(self, folder: Path) -> pa.Table:
        """-> content_id, codes list<int32>, suffix int32, sorted by content_id. Raises BadInput; never unpickles."""


class DeltaFormat(ExportFormat, Protocol):
    def write_delta(self, changes: Iterator[pa.RecordBatch], folder: Path, about: ExportInfo) -> None:
        """Adds to what `write` left in the folder what has changed since an earlier export."""
