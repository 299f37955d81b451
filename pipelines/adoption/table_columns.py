"""The columns of a table of IDs: an ID as text, as a list of codes, or as a column for each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.reasons import reason
from fuseid.pipelines.adoption.base import LARGEST, checked_ids, refuse_first, table_of

# Names of the columns of levels, without their number: fuseid's, and those of SIDInspector's tables.
_STEMS = ("code_", "sid_level_", "sid_")
# As `core.records.SemanticId` writes an ID.
_SID = r"\A(?:0|[1-9][0-9]*)(?:-(?:0|[1-9][0-9]*))*(?:\.[1-9][0-9]*)?\z"
# What SIDInspector's contract adds to its rows: several of them in one file give an item several IDs.
_OF_ONE = ("method", "dataset")


@dataclass(frozen=True)
class Layout:
    """Which columns of a table say what. sid: the ID as text. codes: lists. levels: one column for each level. A part
    that a file lacks is None or empty; if it has several they have to agree."""

    content_id: str
    sid: str | None
    codes: str | None
    levels: tuple[str, ...]
    suffix: str | None
    of_one: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], shown: Path) -> Layout:
        """Raises BadInput for a table without ids, or without codes."""
        content_id = next((name for name in ("content_id", "item_id") if name in names), None)
        levels: tuple[str, ...] = ()
        for stem in _STEMS:
            levels = levels or tuple(takewhile(lambda name: name in names, (f"{stem}{level}" for level in count())))
        sid, codes = ("sid" if "sid" in names else None), ("codes" if "codes" in names else None)
        if content_id is None or not (sid or codes or levels):
            missing = "content_id" if content_id is None else "sid, codes or code_0, code_1, ..."
            raise BadInput(f"{shown} has no column {missing}; it has {', '.join(names) or 'none'}")
        if content_id == "item_id" and levels:
            # SIDInspector's `sid` is a text of any form.
            sid = None
        suffix = "suffix" if "suffix" in names else None
        return cls(content_id, sid, codes, levels, suffix, tuple(name for name in _OF_ONE if name in names))

    @property
    def columns(self) -> list[str]:
        named = [self.content_id, self.sid, self.codes, *self.levels, self.suffix, *self.of_one]
        return [name for name in named if name is not None]

    def ids(self, table: pa.Table, shown: Path, first: int) -> pa.Table:
        """-> a table of schema `IDS`. first: the number of its first row in the file, from 1 on."""
        whole = {name: table[name].combine_chunks() for name in self.columns}
        content_ids = checked_ids(whole[self.content_id], self.content_id, shown, first)
        codes: list[np.ndarray] = []
        digits_N: np.ndarray | None = None
        if self.sid:
            codes_NL, digits_N = _from_text(whole[self.sid], self.sid, shown, first)
            codes.append(codes_NL)
        if self.codes:
            codes.append(_from_lists(whole[self.codes], self.codes, shown, first))
        if self.levels:
            codes.append(np.stack([_numbers(whole[name], name, shown, first) for name in self.levels], axis=1))
        if self.suffix:
            given_N = _numbers(whole[self.suffix], self.suffix, shown, first, missing=0)
            if digits_N is not None:
                refuse_first(digits_N != given_N, shown, first, f"{self.sid} and {self.suffix} contradict each other")
            digits_N = given_N
        for other_NL in codes[1:]:
            same = other_NL.shape == codes[0].shape
            wrong_N = (other_NL != codes[0]).any(1) if same else np.ones(len(table), bool)
            refuse_first(wrong_N, shown, first, "its columns contradict each other: they hold different codes")
        return table_of(content_ids, codes[0], np.zeros(len(table), np.int32) if digits_N is None else digits_N)


def _from_text(texts: pa.Array, name: str, shown: Path, first: int) -> tuple[np.ndarray, np.ndarray]:
    """-> codes int32 [N, L], digits int32 [N]."""
    if isinstance(texts, pa.DictionaryArray):
        texts = texts.dictionary_decode()
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise BadInput(f"{shown}: column {name} is {texts.type}; it has to hold texts like 12-240-7")
    well_formed_N = pc.fill_null(pc.match_substring_regex(texts, _SID), False).to_numpy(zero_copy_only=False)
    if not well_formed_N.all():
        row = int(well_formed_N.argmin())
        text = str(texts[row].as_py())[:60]
        raise BadInput(f"{shown}, row {first + row}: {text!r} is no semantic ID of a form like 12-240-7 or 12-240-7.1")
    parts = pc.split_pattern(texts, ".")
    levels = pc.split_pattern(pc.list_element(parts, 0), "-")
    has_digit = pc.equal(pc.list_value_length(parts), 2)
    digits = pc.list_element(parts.filter(has_digit), 1)
    digits_N = np.zeros(len(texts), np.int32)
    digits_N[has_digit.to_numpy(zero_copy_only=False)] = _int32(digits, f"suffixes of {name}", shown)
    return _matrix(levels, name, shown, first), digits_N


def _from_lists(lists: pa.Array, name: str, shown: Path, first: int) -> np.ndarray:
    """-> codes int32 [N, L]."""
    if not isinstance(lists, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        raise BadInput(f"{shown}: column {name} is {lists.type}; it has to hold lists of integers")
    refuse_first(lists.is_null(), shown, first, f"{name} is missing")
    return _matrix(lists, name, shown, first)


def _matrix(lists: pa.Array, name: str, shown: Path, first: int) -> np.ndarray:
    lengths_N = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    levels = int(lengths_N[0])
    refuse_first(
        lengths_N != levels, shown, first, f"its ID has another number of levels than the {levels} of the rows before"
    )
    if not levels:
        raise BadInput(f"{shown}, row {first}: {name} is empty; an ID has one code or more")
    codes_NL = _int32(lists.flatten(), name, shown).reshape(-1, levels)
    refuse_first((codes_NL < 0).any(1), shown, first, f"{name} holds a negative code")
    return codes_NL


def _numbers(column: pa.Array, name: str, shown: Path, first: int, missing: int | None = None) -> np.ndarray:
    """int32 [N]. missing: what null stands for, None if it is an error."""
    if pa.types.is_floating(column.type):
        # pandas writes integers with a null among them as floats.
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if missing is None:
        refuse_first(column.is_null(), shown, first, f"{name} is missing: all IDs need the same number of levels")
    elif pa.types.is_null(column.type):
        return np.full(len(column), missing, np.int32)
    numbers_N = _int32(column if missing is None else pc.fill_null(column, missing), name, shown)
    refuse_first(numbers_N < 0, shown, first, f"{name} is negative")
    return numbers_N


def _int32(values: pa.Array, name: str, shown: Path) -> np.ndarray:
    if values.null_count:
        raise BadInput(f"{shown}: {name} holds null among its codes")
    try:
        return values.cast(pa.int64()).cast(pa.int32()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = reason(error)
        raise BadInput(f"{shown}: {name} holds what is no integer from 0 to {LARGEST}: {what}") from None
