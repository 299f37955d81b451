"""Slices of the catalogue, whose figures are compared: by kind, by the values of an attribute, by popularity."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.core.names import hint
from fuseid.pipelines.store.rows import attributes_of

MOST_VALUES = 10
# Slices of fewer items are marked: their figures are not reliable.
SMALL_SLICE = 50
# The head is the most popular fifth of the items; items that tie with the rest belong to the rest.
HEAD = 0.2
_OTHERS, _WITHOUT = 254, 255
_BY_POPULARITY = "popularity"
_BY_PREFIX = "prefix size"
# The values of the ways to slice that are not attributes.
FIXED = {"kind": ("image", "text", "video"), _BY_POPULARITY: ("head", "tail"), _BY_PREFIX: ("head", "tail")}


class Slicing:
    """Ways to slice, each of them a partition: a slice for each value, then other values, then items without a value.

    The values of an attribute are its most common ones in `sample`, a table with `kind` and `attributes`.
    Raises BadInput for an attribute that no row of the sample has, and for a popularity that is not a number.
    """

    def __init__(self, sample: pa.Table, attributes: Sequence[str] = (), popularity: str | None = None) -> None:
        self.popularity = popularity
        self._attributes = tuple(dict.fromkeys(attributes))
        self.values: dict[str, Sequence[str]] = {"kind": FIXED["kind"]}
        rows = _attributes_of(sample)
        for name in (*self._attributes, *([popularity] if popularity else [])):
            _check_known(rows, name)
        for name in self._attributes:
            counts = Counter(value_text(row[name]) for row in rows if row.get(name) is not None)
            common = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES]
            self.values[f"attributes.{name}"] = common
        if popularity:
            self.values[_BY_POPULARITY] = FIXED[_BY_POPULARITY]
            self.numbers(sample)
        self.values[_BY_PREFIX] = FIXED[_BY_PREFIX]

    @property
    def columns(self) -> list[str]:
        """The columns of `contents` that `labels` and `numbers` read."""
        return ["kind", "attributes"] if self._attributes or self.popularity else ["kind"]

    @property
    def ways(self) -> list[str]:
        """The keys of `labels`."""
        return [by for by in self.values if by not in (_BY_POPULARITY, _BY_PREFIX)]

    def labels(self, batch: Any) -> dict[str, np.ndarray]:
        """For each way to slice the slices of the rows, uint8 [N]; not for popularity, which `add_popularity` adds once
        the popularity of all rows is known."""
        out = {"kind": _positions(batch["kind"].to_pylist(), self.values["kind"])}
        rows = _attributes_of(batch) if self._attributes else []
        for name in self._attributes:
            texts = [None if row.get(name) is None else value_text(row[name]) for row in rows]
            out[f"attributes.{name}"] = _positions(texts, self.values[f"attributes.{name}"])
        return out

    def numbers(self, batch: Any) -> np.ndarray:
        """float64 [N], the popularity of each row; NaN if it has none."""
        name = self.popularity or ""
        values = [row.get(name) for row in _attributes_of(batch)]
        wrong = next((v for v in values if v is not None and type(v) not in (int, float)), None)
        if wrong is not None:
            raise BadInput(f"popularity {name!r} must be a number, an item has {wrong!r}; name another attribute")
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def add_popularity(self, labels: dict[str, np.ndarray], numbers_N: np.ndarray, border: float) -> None:
        """border: of `popularity_border`."""
        out = np.where(numbers_N > border, 0, 1).astype(np.uint8)
        out[np.isnan(numbers_N)] = _WITHOUT
        labels[_BY_POPULARITY] = out

    def add_prefix_size(self, labels: dict[str, np.ndarray], first_codes_N: np.ndarray) -> None:
        """The head are the items of the largest first codes, as few of them as together have a fifth of the items."""
        counts = np.bincount(first_codes_N)
        largest = np.argsort(-counts, kind="stable")
        needed = 1 + int(np.searchsorted(np.cumsum(counts[largest]), HEAD * len(first_codes_N)))
        labels[_BY_PREFIX] = np.where(np.isin(first_codes_N, largest[:needed]), 0, 1).astype(np.uint8)

    def slices(self, labels: dict[str, np.ndarray]) -> Iterator[tuple[dict[str, Any], int]]:
        """(what identifies the slice, its label) of every slice that has items, in the order in which they appear."""
        for by, labels_N in labels.items():
            there = np.bincount(labels_N, minlength=256)
            names = [*enumerate(self.values[by]), (_OTHERS, None), (_WITHOUT, None)]
            for label, value in names:
                if there[label]:
                    rest = {_OTHERS: "others", _WITHOUT: "without"}.get(label)
                    yield {"by": by, "value": value, "rest": rest}, label


def popularity_border(numbers_N: np.ndarray) -> float:
    """The popularity above which an item is in the head; at most a fifth of the items are above it."""
    known = numbers_N[~np.isnan(numbers_N)]
    outside = len(known) - int(len(known) * HEAD) - 1
    return float(np.partition(known, outside)[outside]) if outside >= 0 else float("inf")


def _attributes_of(batch: Any) -> list[dict[str, Any]]:
    return [attributes_of(text) for text in batch["attributes"].to_pylist()]


def _check_known(rows: Sequence[dict[str, Any]], name: str) -> None:
    if not any(row.get(name) is not None for row in rows):
        known = sorted({key for row in rows for key in row})
        raise BadInput(f"no item of {len(rows)} looked at has an attribute {name!r}; {hint(name, known)}")


def value_text(value: Any) -> str:
    """The value of an attribute as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _positions(texts: Sequence[str | None], values: Sequence[str]) -> np.ndarray:
    where: dict[str | None, int] = {value: position for position, value in enumerate(values)}
    where[None] = _WITHOUT
    return np.array([where.get(text, _OTHERS) for text in texts], dtype=np.uint8)
