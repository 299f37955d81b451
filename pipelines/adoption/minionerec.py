"""IDs in MiniOneRec's form: one JSON object from item numbers to lists of tokens such as `<a_12>`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.pipelines.adoption.base import LARGEST, table_of
from fuseid.pipelines.adoption.item_map import ItemMap, named, notes_of
from fuseid.pipelines.sources.item import unchanging

SUFFIX = ".json"
# Text that is parsed at a time.
_CHUNK = 1 << 22
_TOKEN = r'"<[a-z]_[0-9]+>"'
_ENTRY = rf'\A\s*[{{,]\s*"(?P<key>[^"\\]+)"\s*:\s*\[\s*(?P<tokens>{_TOKEN}(?:\s*,\s*{_TOKEN})*)\s*\z'


class MiniOneRec:
    """`X.index.json`. All items have a token for each level, and those with a collision digit one more. The number of
    levels is that of the item map, or the fewest tokens that an item has. Memory holds a piece of the text."""

    def __init__(self, path: Path, items: ItemMap | None) -> None:
        self.sizes: tuple[int, ...] | None = None
        self.notes = notes_of(items)
        self._path = path
        self._items = items

    def tables(self) -> Iterator[pa.Table]:
        try:
            with unchanging(self._path, self._path):
                levels = self._levels()
                for entries in self._entries():
                    yield self._table(entries, levels)
        except (OSError, UnicodeDecodeError) as error:
            raise unusable(f"cannot read {self._path}: {reason(error)}", error) from None

    def _levels(self) -> int:
        known = self._items.levels if self._items else None
        return known or min((pc.min(_counts(entries)).as_py() for entries in self._entries()), default=0)

    def _table(self, entries: pa.StructArray, levels: int) -> pa.Table:
        keys, counts_N = entries.field("key"), _counts(entries).to_numpy(zero_copy_only=False)
        wrong_N = (counts_N != levels) & (counts_N != levels + 1)
        if wrong_N.any():
            row = int(wrong_N.argmax())
            raise BadInput(
                f"{self._path}: item {keys[row].as_py()!r} has {counts_N[row]} tokens, where others have {levels}; "
                f"one more is a collision digit"
            )
        tokens = pc.extract_regex(
            pc.split_pattern(entries.field("tokens"), ",").flatten(), r"<(?P<level>[a-z])_(?P<code>[0-9]+)>"
        )
        ends_N = np.cumsum(counts_N)
        level_T = np.arange(ends_N[-1]) - np.repeat(ends_N - counts_N, counts_N)
        expected = pa.array(list(ascii_lowercase)).take(pa.array(level_T))
        if not pc.all(pc.equal(tokens.field("level"), expected)).as_py():
            at = int(pc.not_equal(tokens.field("level"), expected).to_numpy(zero_copy_only=False).argmax())
            key = keys[int(np.searchsorted(ends_N, at, side="right"))].as_py()
            raise BadInput(f"{self._path}: the tokens of item {key!r} are not of the levels a, b, ... in this order")
        try:
            codes_T = tokens.field("code").cast(pa.int64()).cast(pa.int32()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            raise BadInput(f"{self._path}: a token has a code above {LARGEST}") from None
        is_digit_T = level_T == levels
        digits_N = np.zeros(len(keys), np.int32)
        digits_N[counts_N > levels] = codes_T[is_digit_T]
        return table_of(self._content_ids(keys), codes_T[~is_digit_T].reshape(-1, levels), digits_N)

    def _content_ids(self, keys: pa.Array) -> pa.Array:
        if self._items is None:
            return keys
        try:
            return named(keys.cast(pa.int64()).to_numpy(zero_copy_only=False), self._items)
        except pa.ArrowInvalid:
            raise BadInput(
                f"{self._path}: its items are not named by numbers, so no {option('item_map')} belongs to it"
            ) from None

    def _entries(self) -> Iterator[pa.StructArray]:
        """The keys and tokens of items, piece by piece."""
        rest, first = "", True
        with self._path.open(encoding="utf-8-sig") as file:
            while text := file.read(_CHUNK):
                whole, bracket, rest = (rest + text).rpartition("]")
                if not bracket:
                    continue
                yield self._parsed(pc.split_pattern(pa.array([whole]), "]").flatten(), first)
                first = False
        if rest.strip() != ("{}" if first else "}"):
            raise BadInput(f"{self._path} is no JSON object of items and tokens: it ends with {rest.strip()[-40:]!r}")

    def _parsed(self, texts: pa.Array, first: bool) -> pa.StructArray:
        found = pc.extract_regex(texts, _ENTRY)
        starts = pc.utf8_slice_codeunits(pc.utf8_ltrim_whitespace(texts), 0, 1)
        wanted = pa.array(["{" if first and not row else "," for row in range(len(texts))])
        wrong_N = pc.or_(found.is_null(), pc.not_equal(starts, wanted)).to_numpy(zero_copy_only=False)
        if wrong_N.any():
            text = " ".join(texts[int(wrong_N.argmax())].as_py().split())[:80]
            raise BadInput(f'{self._path}: {text!r} is no item of the form "0": ["<a_12>", "<b_240>"]')
        return found


def _counts(entries: pa.StructArray) -> pa.Array:
    return pc.count_substring(entries.field("tokens"), "<")
