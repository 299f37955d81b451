"""What the readers of files of IDs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.reasons import reason
from fuseid.pipelines.exports.columns import IDS, lists_of, suffixes_of

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
    kind = column.type.value_type if isinstance(column.type, pa.DictionaryType) else column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not is_text and not pa.types.is_integer(kind) and not pa.types.is_null(kind):
        raise BadInput(f"{shown}: column {name} is {kind}; ids are text")
    texts = column.cast(pa.string())
    refuse_first(pc.fill_null(pc.equal(texts, ""), True), shown, first, f"{name} is missing; every row needs one")
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise BadInput(f"{shown}: column {name} is not UTF-8: {reason(error)}") from None
    return texts


def refuse_first(wrong: pa.Array | np.ndarray, shown: Path, first: int, problem: str) -> None:
    """Raises BadInput, which names the first row that is wrong, if there is one."""
    wrong_N = wrong if isinstance(wrong, np.ndarray) else wrong.to_numpy(zero_copy_only=False)
    if wrong_N.any():
        raise BadInput(f"{shown}, row {first + int(wrong_N.argmax())}: {problem}")
