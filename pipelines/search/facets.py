"""Facets: how many items of a filter have each value of a kind, tag, attribute or ID prefix."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fuseid.core.errors import BadInput, NotReady, StoreError
from fuseid.core.surface import option
from fuseid.pipelines.search import json_sql
from fuseid.pipelines.search.counting import Counts
from fuseid.pipelines.search.filter_names import check_attribute, hint_among
from fuseid.pipelines.search.filters import ATTRIBUTE, TAG_ATTRIBUTES
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.time_limit import SECONDS

# Facets besides those of attributes.
NAMES = ("kind", "tag", "sid")
_BATCH_ROWS = 8192


@dataclass(frozen=True)
class Facet:
    """The values of one facet, the most frequent first.

    values: each with the number of items that have it. items: all that were looked at. without: those that have no
    value. others: what the counts of the values that are not listed add up to; an item with several values is counted
    for each. distinct: how many values there are. error: 0 for exact counts; else there were too many values to hold:
    the counts are up to that much too low, and there are at least `distinct` values.
    """

    values: tuple[tuple[Any, int], ...]
    items: int
    without: int
    others: int
    distinct: int
    error: int = 0

    def as_json(self) -> dict[str, Any]:
        counted = [{"value": value, "items": items} for value, items in self.values]
        return {
            "items": self.items, "values": counted, "others": self.others, "without": self.without,
            "distinct": self.distinct, "error": self.error,
        }  # fmt: skip


def facets(
    view: View, names: Sequence[str], where: str | None, prefix: str | None, top: int, seconds: float | None
) -> dict[str, Facet]:
    """Facets by name, from one scan of the items that fulfil the condition.

    prefix: of IDs, whole codes, below which `sid` counts the next code. Raises BadInput for a facet that there is not,
    NotReady when it takes longer than `seconds`.
    """
    counted = {name: _counted(view, number, name, prefix) for number, name in enumerate(dict.fromkeys(names))}
    counts = {name: Counts() for name in counted}
    without = dict.fromkeys(counted, 0)
    columns = {column: sql for each in counted.values() for column, sql in each.columns.items()}
    items, end = 0, time.monotonic() + (SECONDS if seconds is None else seconds)
    scan = view.contents.scanner(columns=columns, filter=where, batch_size=_BATCH_ROWS)
    for batch in scan.to_batches():
        items += batch.num_rows
        for name, each in counted.items():
            found: dict[str, int] = {}
            for row, times in _rows(batch, list(each.columns)):
                values = each.values(row)
                without[name] += 0 if values else times
                for value in values:
                    found[value] = found.get(value, 0) + times
            counts[name].add(found.items())
        if time.monotonic() > end:
            raise NotReady(f"counting {', '.join(names)} took longer than the time limit ({option('timeout')})")
    return {name: _facet(counts[name], items, without[name], top) for name in counted}


def check_found(view: View, found: dict[str, Facet]) -> None:
    """Raises BadInput for a facet of an attribute that no item of the table has."""
    for name, facet in found.items():
        if name.startswith(ATTRIBUTE) and not facet.distinct:
            check_attribute(view.contents, name[len(ATTRIBUTE) :])


@dataclass(frozen=True)
class _Counted:
    """columns: of a scan, by name their SQL expressions."""

    columns: dict[str, str]

    def values(self, row: tuple[Any, ...]) -> set[str]:
        """The distinct values of a row, as `_text` writes them."""
        return {_text(value) for value in row if value is not None}


class _Attributes(_Counted):
    def values(self, row: tuple[Any, ...]) -> set[str]:
        found: set[str] = set()
        for cell in row:
            if cell is not None:
                _add(found, json.loads(cell) if isinstance(cell, str) else cell)
        return found


@dataclass(frozen=True)
class _NextCodes(_Counted):
    prefix: str | None

    def values(self, row: tuple[Any, ...]) -> set[str]:
        (code,) = row
        return set() if code is None else {_text(str(code) if self.prefix is None else f"{self.prefix}-{code}")}


def _counted(view: View, number: int, name: str, prefix: str | None) -> _Counted:
    if name == "kind":
        return _Counted({"kind": "kind"})
    if name == "sid":
        if not view.has_ids:
            raise StoreError(no_ids(view.store.uri))
        base = prefix.partition(".")[0].rstrip("-") if prefix else None
        return _NextCodes({"code": f"codes[{1 + (len(base.split('-')) if base else 0)}]"}, base)
    if name == "tag":
        columns = {f"listed_{each}": json_sql.extracted(each) for each in TAG_ATTRIBUTES}
        return _Attributes({**columns, "vlm_tags": "vlm_tags"})
    if name.startswith(ATTRIBUTE) and name != ATTRIBUTE:
        attribute = name[len(ATTRIBUTE) :]
        return _Attributes({f"attribute_{number}": json_sql.extracted(attribute)})
    raise BadInput(f"no facet {name!r}; {hint_among(view.contents, name, NAMES)}")


def _rows(batch: pa.RecordBatch, columns: list[str]) -> Iterator[tuple[tuple[Any, ...], int]]:
    """Each combination of values of these columns in a batch, and how many rows have it."""
    if len(columns) == 1 and not pa.types.is_nested(batch.column(columns[0]).type):
        counted = batch.column(columns[0]).value_counts()
        values, times = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
        yield from zip(zip(values), times, strict=True)
        return
    cells = ([tuple(cell) if isinstance(cell, list) else cell for cell in batch.column(c).to_pylist()] for c in columns)
    yield from Counter(zip(*cells, strict=True)).items()


def _add(found: set[str], value: Any) -> None:
    """Adds a value, or the elements of a list and of the lists within; not null."""
    if isinstance(value, list | tuple):
        for each in value:
            _add(found, each)
    elif value is not None:
        found.add(_text(value))


def _text(value: Any) -> str:
    """One text for each value: text with a double quote before it, and JSON, in which equal numbers have one form."""
    if isinstance(value, str):
        return f'"{value}'
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _value(text: str) -> Any:
    """What `_text` was made from."""
    return text[1:] if text.startswith('"') else json.loads(text)


def _facet(counts: Counts, items: int, without: int, top: int) -> Facet:
    listed = counts.top(top)
    others = counts.total - sum(count for _, count in listed)
    values = tuple((_value(text), count) for text, count in listed)
    return Facet(values, items, without, others, counts.distinct, counts.error)
