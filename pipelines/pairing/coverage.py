"""How far pairs reach into the catalogue: head, middle and tail of the items by their events, and examples of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from fuseid.pipelines.engagement.popularity import parts_of

# Of each part: items whose pairs are noted, and those of them that are shown, with so many partners.
_NOTED, _SHOWN, _PARTNERS = 16, 2, 3


@dataclass(frozen=True)
class Example:
    """partners: the best of an item, with their weights."""

    part: str
    item: int
    partners: list[tuple[int, float]]


@dataclass
class Coverage:
    """events_I: of each item, in how many events it was used."""

    events_I: np.ndarray
    _degree_I: np.ndarray = field(init=False)
    _partners: dict[int, list[tuple[int, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._degree_I = np.zeros(len(self.events_I), np.int64)
        used = np.flatnonzero(self.events_I)
        # Equal numbers of events in the order of content_id.
        order = used[np.argsort(-self.events_I[used], kind="stable")]
        self._parts = parts_of(order)
        self._noted = {
            name: items[np.unique(np.linspace(0, len(items) - 1, _NOTED).astype(int))] if len(items) else items
            for name, items in self._parts.items()
        }
        self._sought = np.unique(np.concatenate(list(self._noted.values())))

    def note(self, best: pa.Table) -> None:
        """best: `BEST`, all rows of an owner in one table, the largest weights first."""
        owner = best["owner"].to_numpy()
        wanted = np.flatnonzero(np.isin(owner, self._sought))
        for row in best.take(pa.array(wanted)).to_pylist():
            found = self._partners.setdefault(row["owner"], [])
            if len(found) < _PARTNERS:
                found.append((row["partner"], row["weight"]))

    def count(self, first: np.ndarray, second: np.ndarray) -> None:
        """Items of pairs that are kept, int32 [P] twice."""
        for side in (first, second):
            self._degree_I += np.bincount(side, minlength=len(self._degree_I))

    @property
    def in_pairs(self) -> int:
        """How many items are in a pair."""
        return int(np.count_nonzero(self._degree_I))

    def table(self) -> list[dict[str, Any]]:
        """For each part: its items, their share of all events, the share of them that is in a pair, and in how many
        pairs they are on average."""
        whole = max(1, int(self.events_I.sum()))
        rows = []
        for name, items in {"all": np.concatenate(list(self._parts.values())), **self._parts}.items():
            degree = self._degree_I[items]
            rows.append({
                "part": name,
                "items": len(items),
                "events": float(self.events_I[items].sum() / whole),
                "covered": float((degree > 0).mean()) if len(items) else None,
                "pairs_of_item": float(degree.mean()) if len(items) else None,
            })  # fmt: skip
        return rows

    def examples(self) -> list[Example]:
        """Of each part those of the noted items that have pairs, the ones with the most events."""
        found = []
        for part, noted in self._noted.items():
            items = [item for item in noted.tolist() if item in self._partners]
            found += [Example(part, item, self._partners[item]) for item in items[:_SHOWN]]
        return found
