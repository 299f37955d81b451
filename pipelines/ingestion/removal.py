"""Removal: deletes items from `contents` and `rejected`, in bounded commits; the ledger keeps the IDs that they had."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from fuseid.core.faults import reached
from fuseid.encoders.blocks import blocks
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.sources.item import shortened
from fuseid.pipelines.store.rows import ids_in
from fuseid.pipelines.store.store import Store

TABLES = ("contents", "rejected")
_LOOKUP = 10_000
# How many ids that the database does not have are named in a note.
_NAMED = 5


class Removal:
    """The ids of the rows to delete from each table. They are kept in one file per table, so that memory does not grow
    with them. `rows`: how many there are."""

    def __init__(self, store: Store, scratch: Path, name: str) -> None:
        """name: of the files in `scratch`."""
        self.rows = dict.fromkeys(TABLES, 0)
        self._store = store
        self._files = {table: scratch / f"{name}-{table}" for table in TABLES}

    def add(self, table: str, ids: Iterable[str]) -> None:
        with self._files[table].open("a", encoding="ascii") as file:
            for content_id in ids:
                file.write(json.dumps(content_id) + "\n")
                self.rows[table] += 1

    def remove(self, removed: Callable[[int], None] = lambda rows: None, per_commit: int = 10_000) -> None:
        """Deletes the rows; one that is already gone is no error. removed: called after each commit with its rows."""
        for table in TABLES:
            ids = self._ids(table)
            while chunk := list(islice(ids, per_commit)):
                self._store.delete(table, chunk)
                reached("items.removed")
                removed(len(chunk))

    def _ids(self, table: str) -> Iterator[str]:
        if self.rows[table]:
            with self._files[table].open(encoding="ascii") as file:
                yield from map(json.loads, file)


class Withdrawal:
    """Items that their owner withdraws by id, whether or not the database has them.

    ids: each id once, with a number by which the unknown ones are ordered in the note.
    items: how many the database has. unknown: how many it has not.
    """

    def __init__(self, store: Store, ids: Iterable[tuple[int, str]], scratch: Path) -> None:
        self.items = self.unknown = 0
        self._removal = Removal(store, scratch, "withdrawn")
        self._first_unknown: list[tuple[int, str]] = []
        tables = [table for table in TABLES if store.newest(table) is not None]
        datasets = {table: store.dataset(table) for table in tables}
        for chunk in blocks(ids, _LOOKUP):
            wanted = [content_id for _, content_id in chunk]
            known: set[str] = set()
            for table, dataset in datasets.items():
                found = ids_in(dataset, wanted)
                self._removal.add(table, found)
                known.update(found)
            missing = [numbered for numbered in chunk if numbered[1] not in known]
            self.items += len(known)
            self.unknown += len(missing)
            self._first_unknown = heapq.nsmallest(_NAMED, [*self._first_unknown, *missing])

    def remove(self, run: Run, removed: Callable[[int], None] = lambda rows: None) -> None:
        """Deletes the items; `run` gets the counts, and a note if some are unknown."""
        self._removal.remove(removed)
        run.counts |= self.counts
        run.notes += self.notes

    @property
    def counts(self) -> dict[str, int]:
        return {"removed": self.items, "removed_unknown": self.unknown}

    @property
    def notes(self) -> list[str]:
        if not self.unknown:
            return []
        named = ", ".join(shortened(content_id) for _, content_id in self._first_unknown)
        more = ", ..." if self.unknown > _NAMED else ""
        return [
            f"{self.unknown} of the items to remove are not in the database, which never had them or has removed them "
            f"before: {named}{more}"
        ]
