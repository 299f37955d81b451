"""Indexes of vectors: made, extended, measured on canaries, and made again where they do not find enough."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lance

from fuseid.core.memory import trimmed_memory
from fuseid.core.modalities import FUSED_COLUMNS
from fuseid.core.reasons import reason
from fuseid.pipelines.indexing.canaries import Canaries, canaries, drawn
from fuseid.pipelines.indexing.kinds import compared_by, kind_for, outgrown
from fuseid.pipelines.indexing.recall import recall
from fuseid.pipelines.indexing.tuning import tuned
from fuseid.pipelines.store.index_figures import (
    SHARES,
    Effort,
    Found,
    IndexFigures,
    figures_of,
    segments,
    store_figures,
    vector_indexes,
)
from fuseid.pipelines.store.indexes import extend_indexes, indexed_columns, rows_outside
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes

# The vectors that look-ups search once there are IDs, also of a generation that is not in force yet. Others are
# searched before the first fit only, and are scanned: to index a million of them takes ten times as long as to take
# them in.
SEARCHED = ("clip_image", "clip_text", *FUSED_COLUMNS)
# The texts that pictures are looked for by.
_TEXTS = {"clip_image": "clip_text"}
# Items for which each index is measured, and as many texts.
CANARIES = 100
# Standard errors that are taken off a measured recall. People's filters differ more from those that stand in for them
# than their queries do from items.
_ERRORS, _ERRORS_FILTERED = 1, 2
# Fewer rows that pass a filter are found by any effort.
_FEWEST = 100
# An index is measured again when more than one in so many of its rows has been added. Fewer rows change the recall by
# less than a measurement can tell.
_ADDED_SHARE = 20
# An index that comes to need so many times the probes that it began with is made again.
_MOST_TIMES = 4


class UnreadableIndex(Exception):
    """An index whose files cannot be read."""


def missing_vector_indexes(dataset: lance.LanceDataset, threshold: int) -> Iterator[tuple[str, int]]:
    """The columns that are due to get an index, and how many vectors each has."""
    have = indexed_columns(dataset)
    for column in vector_sizes(dataset.schema):
        if column in SEARCHED and column not in have:
            rows = dataset.count_rows(f"{column} IS NOT NULL")
            if rows >= threshold:
                yield column, rows


def outgrown_index(dataset: lance.LanceDataset, index: Any, added: int = 0) -> bool:
    """Whether it is due to be made again, since the table has grown. added: vectors that are about to be added."""
    size = vector_sizes(dataset.schema)[index.field_names[0]]
    return outgrown(vectors_in(dataset, index.name) + added, size, partitions(dataset, index.name))


def index_vectors(store: Store, threshold: int) -> tuple[set[str], list[str]]:
    """Makes the indexes that are due, and adds new rows to the others; one that cannot be read, or that the table has
    outgrown, is made again. Returns the names of those that are new, and notes about those that were made again."""
    made: set[str] = set()
    notes, added = [], {}
    dataset = store.dataset("contents")
    figures = figures_of(dataset)
    for column, rows in missing_vector_indexes(dataset, threshold):
        made.add(name := _free_name(dataset, column))
        _make(store, column, rows, name)
        dataset = store.dataset("contents")
    for index in vector_indexes(dataset):
        if index.name in made:
            continue
        if not index.num_rows_indexed and (rows := dataset.count_rows(f"{index.field_names[0]} IS NOT NULL")):
            # All its vectors were written again, as after a fit of the fusion. Lance would put them in one partition.
            made.add(index.name)
            _make(store, index.field_names[0], rows, index.name)
            continue
        try:
            with _readable():
                if outgrown_index(dataset, index):
                    notes.append(_made_again(store, index, "had too few partitions"))
                    made.add(index.name)
                else:
                    if index.name in figures and figures[index.name].segments == segments(index):
                        added[index.name] = rows_outside(dataset, index)
                    extend_indexes(store, "contents", [index.name])
        except UnreadableIndex as error:
            notes.append(_made_again(store, index, f"could not be read ({error})"))
            made.add(index.name)
    _note_added(store, {name: rows for name, rows in added.items() if rows and name not in made})
    return made, notes


def measure_vector_indexes(store: Store, target: float, made: Collection[str], always: bool) -> list[str]:
    """Measures the indexes that have changed since they were measured by more than a few added rows, or all, and stores
    what searches need to know. An index that finds too little is searched harder, and made again if that is not enough,
    unless it is new. Returns notes about those that were made again or still find too little.

    target: the recall that is asked for. made: the names of new indexes.
    """
    dataset = store.dataset("contents")
    before, notes = figures_of(dataset), []
    there = vector_indexes(dataset)
    after = {index.name: before[index.name] for index in there if index.name in before}
    due = [index for index in there if always or not is_measured(before.get(index.name), index, target)]
    rows = drawn(dataset, CANARIES) if due else []
    for index in due:
        figures, note = _measured(store, index, rows, target, before.get(index.name), index.name in made)
        after[index.name] = figures
        notes += note
    if after != before:
        store_figures(store, after)
    return notes


def is_measured(figures: IndexFigures | None, index: Any, target: float) -> bool:
    """Whether the figures are those of the index as it is, or was before a few rows were added."""
    return (
        figures is not None
        and figures.segments == segments(index)
        and figures.target == target
        and figures.added <= figures.rows // _ADDED_SHARE
    )


def partitions(dataset: lance.LanceDataset, name: str) -> int:
    # A part of which no row is left has no such number.
    return max((part.get("num_partitions", 1) for part in _parts(dataset, name)), default=1)


def vectors_in(dataset: lance.LanceDataset, name: str) -> int:
    """How many vectors an index holds; the number of its rows also counts those without one."""
    return sum(one["size"] for part in _parts(dataset, name) for one in part.get("partitions", ()))


def _parts(dataset: lance.LanceDataset, name: str) -> list[dict[str, Any]]:
    # Lance writes a warning about the centroids to standard error, unless it is set that they are left out.
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")
    found: list[dict[str, Any]] = dataset.stats.index_stats(name)["indices"]
    return found


def _measured(
    store: Store, index: Any, rows: Sequence[int], target: float, before: IndexFigures | None, is_new: bool
) -> tuple[IndexFigures, list[str]]:
    column, name = index.field_names[0], index.name
    notes: list[str] = []
    dataset = store.dataset("contents")
    known = canaries(dataset, column, _texts(dataset, column), rows, CANARIES)
    # An index that could not find enough right after it was made is not made again and again.
    may_gain = not is_new and (before is None or before.is_enough or before.target != target)
    before = None if is_new or before is None or before.target != target else before
    try:
        with _readable():
            figures = _Measuring(dataset, name, known, target).figures(before)
        is_harder = before is not None and figures.found["all"].effort.probes > _MOST_TIMES * before.built
        why = "needed ever more probes" if is_harder else ""
        if may_gain and not figures.is_enough:
            why = _found(figures)
    except UnreadableIndex as error:
        figures, why = None, f"could not be read ({error})"
    if why:
        notes.append(_made_again(store, index, why))
        figures = _Measuring(store.dataset("contents"), name, known, target).figures(None)
    assert figures is not None
    if not figures.is_enough:
        notes.append(f"the index {name} {_found(figures)}, less than lookup.recall asks for ({target:g})")
    return figures, notes


@dataclass(frozen=True)
class _Measuring:
    """One index of one version."""

    dataset: lance.LanceDataset
    name: str
    known: Canaries
    target: float

    def figures(self, before: IndexFigures | None) -> IndexFigures:
        """before: whose efforts are kept where they are still enough."""
        index = next(each for each in vector_indexes(self.dataset) if each.name == self.name)
        count, rows, found = partitions(self.dataset, self.name), vectors_in(self.dataset, self.name), {}
        for share, times in SHARES.items():
            if share != "all" and rows < times * _FEWEST:
                continue
            kept = None if before is None or share not in before.found else self._kept(share, before.found[share])
            compared = compared_by(index.index_type)
            errors = _ERRORS if share == "all" else _ERRORS_FILTERED
            found[share] = kept or tuned(partial(self._recall, share), count, compared, self.target, errors)
            if (found[share].recall or 1) < self.target:
                break  # the greatest effort is not enough
        built = found["all"].effort.probes if before is None else before.built
        return IndexFigures(segments(index), rows, built, self.target, len(self.known.own_Q), found)

    def _kept(self, share: str, before: Found) -> Found | None:
        now = self._recall(share, before.effort)
        if now is not None and now.mean < self.target:
            return None
        return Found(before.effort, None if now is None else round(now.mean, 4))

    def _recall(self, share: str, effort: Effort) -> Any:
        return recall(self.dataset, self.known, share, effort)


def _note_added(store: Store, added: Mapping[str, int]) -> None:
    """Keeps the figures of indexes that these numbers of rows were added to."""
    if not added:
        return
    dataset = store.dataset("contents")
    figures = figures_of(dataset)
    for index in vector_indexes(dataset):
        if rows := added.get(index.name):
            before = figures[index.name]
            figures[index.name] = replace(before, segments=segments(index), added=before.added + rows)
    store_figures(store, figures)


def _made_again(store: Store, index: Any, why: str) -> str:
    column = index.field_names[0]
    _make(store, column, store.dataset("contents").count_rows(f"{column} IS NOT NULL"), index.name)
    return f"the index {index.name} {why}: it was made again"


def _make(store: Store, column: str, rows: int, name: str) -> None:
    with trimmed_memory(), store.writing("contents") as dataset:
        kind = kind_for(rows, vector_sizes(dataset.schema)[column])
        dataset.create_index(
            column, kind.name, name=name, metric="cosine", num_partitions=kind.partitions, replace=True, **kind.options
        )


def _texts(dataset: lance.LanceDataset, column: str) -> str | None:
    sizes, texts = vector_sizes(dataset.schema), _TEXTS.get(column)
    return texts if texts is not None and sizes.get(texts) == sizes[column] else None


def _found(figures: IndexFigures) -> str:
    return f"finds {figures.recall:.3f} of the 10 nearest"


def _free_name(dataset: lance.LanceDataset, column: str) -> str:
    """An index keeps its name when the columns of two generations exchange theirs."""
    taken = {index.name for index in dataset.describe_indices()}
    return next(name for name in (f"{column}_idx", *(f"{each}_idx" for each in FUSED_COLUMNS)) if name not in taken)


@contextmanager
def _readable() -> Iterator[None]:
    """Raises UnreadableIndex for what Lance raises about files that are not as they were written."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableIndex(reason(error)) from None
    except BaseException as error:
        # A panic of a Rust library is no Exception and cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise UnreadableIndex(reason(error)) from None
