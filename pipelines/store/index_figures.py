"""What was measured of the vector indexes: how much of each a search has to read, and what it then finds.

The figures are in the configuration of `contents`, so each version of the table has those of its own indexes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import lance

from fuseid.pipelines.store.store import Store, configuration
from fuseid.pipelines.store.tables import vector_sizes

# The key of the configuration of `contents`: {name of the index: its figures}.
_KEY = "vector_indexes"
# How many of the nearest are looked for when an index is measured.
NEAREST = 10
# Shares of the rows that pass a filter, by the names of their figures.
SHARES = {"all": 1, "tenth": 10, "hundredth": 100}


@dataclass(frozen=True)
class Effort:
    """How a search uses an index. probes: partitions read at first; Lance reads more until it has enough rows.
    compared: candidates for each result whose vectors are compared themselves, not their codes; 0 for an index that
    holds the vectors."""

    probes: int
    compared: int

    def of_results(self, count: int) -> Effort:
        """For so many results: as often as there are ten times more than the `NEAREST` by which this was measured, as
        many partitions again. Results that are further away are in partitions that are further away."""
        return replace(self, probes=round(self.probes * (1 + math.log10(max(count, NEAREST) / NEAREST))))


@dataclass(frozen=True)
class Found:
    """recall: the share of the 10 nearest that a search with this effort finds; the lower one if items are looked for
    by vectors of texts, too. None if it could not be measured, since the items are all alike."""

    effort: Effort
    recall: float | None


@dataclass(frozen=True)
class IndexFigures:
    """segments: the parts of the index that were measured. rows: in them. built: the probes without a filter when it
    was built. target: the recall that was asked for. canaries: how many items were looked for. found: by `SHARES`; for
    too few rows without those of small shares. added: rows that have come into the index since."""

    segments: tuple[str, ...]
    rows: int
    built: int
    target: float
    canaries: int
    found: Mapping[str, Found]
    added: int = 0

    def effort(self, filtered: bool) -> Effort:
        """The hardest of the efforts for searches with a filter, or the one for those without."""
        wanted = [one.effort for name, one in self.found.items() if filtered or name == "all"]
        return max(wanted, key=lambda effort: (effort.probes, effort.compared))

    @property
    def recall(self) -> float | None:
        """The lowest, with and without filters."""
        return min((one.recall for one in self.found.values() if one.recall is not None), default=None)

    @property
    def is_enough(self) -> bool:
        return self.recall is None or self.recall >= self.target


def figures_of(dataset: lance.LanceDataset) -> dict[str, IndexFigures]:
    """By the name of the index; also of indexes that have changed since, or that are gone."""
    stored = configuration(dataset, _KEY) or {}
    return {name: _read(value) for name, value in stored.items()}


def store_figures(store: Store, figures: Mapping[str, IndexFigures]) -> None:
    store.configure("contents", {_KEY: {name: asdict(each) for name, each in figures.items()}})


def measured(dataset: lance.LanceDataset, columns: Collection[str]) -> dict[str, IndexFigures]:
    """By the vector column, of those of `columns` whose index was measured."""
    figures = figures_of(dataset)
    if not figures:
        return {}
    indexes = {index.field_names[0]: index.name for index in dataset.describe_indices()}
    return {column: figures[indexes[column]] for column in columns if indexes.get(column) in figures}


def vector_indexes(dataset: lance.LanceDataset) -> list[Any]:
    """Lance's descriptions of the indexes of vectors."""
    sizes = vector_sizes(dataset.schema)
    return [index for index in dataset.describe_indices() if index.field_names[0] in sizes]


def segments(index: Any) -> tuple[str, ...]:
    return tuple(sorted(str(segment.uuid) for segment in index.segments))


def _read(stored: dict[str, Any]) -> IndexFigures:
    found = {name: Found(Effort(**one["effort"]), one["recall"]) for name, one in stored["found"].items()}
    return replace(IndexFigures(**stored), segments=tuple(stored["segments"]), found=found)
