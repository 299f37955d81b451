"""What the readers of files of IDs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.columns import IDS, lists_of, suffixes_of
from fuseid.pipelines.sources.texts import id_texts

# The rows of a table that a reader yields, about.
TABLE_ROWS = 1 << 16
# Codes and suffixes are int32 in the ledger.
LARGEST = 2**31 - 1


class IdFile(Protocol):
    """A file or folder of IDs. sizes: of the codebooks, if the file says so. notes: what a person should know about how
    it was read, complete after `tables`."""

    sizes: tuple[int, ...] | None
    notes: list[str]

    def tables(self) -> Iterator[pa.Table]:
        """Tables of schema `IDS` that are not empty; all rows of a table have the same number of codes. May be called
        again. Raises BadInput, which names the file and the row or the item, for what is not a form of an ID."""


def table_of(content_ids: pa.Array, codes_NL: np.ndarray, digits_N: np.ndarray) -> pa.Table:
    """A table of schema `IDS`. digits_N: int32 [N], 0 for the bare ID."""
    return pa.Table.from_arrays([content_ids, lists_of(codes_NL), suffixes_of(digits_N)], schema=IDS)


def checked_ids(column: pa.Array, name: str, shown: Path, first: int) -> pa.Array:
    """content_ids as text; integers become text, as in a manifest. first: the number of the first row, from 1 on."""
    return id_texts(column, shown, first - 1, name)


def refuse_first(wrong: pa.Array | np.ndarray, shown: Path, first: int, problem: str) -> None:
    """Raises BadInput, which names the first row that is wrong, if there is one."""
    wrong_N = wrong if isinstance(wrong, np.ndarray) else wrong.to_numpy(zero_copy_only=False)
    if wrong_N.any():
        raise BadInput(f"{shown}, row {first + int(wrong_N.argmax())}: {problem}")
