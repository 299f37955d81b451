"""Checks of the ID order: whether its files are as they were written, and list the rows in the order of their IDs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial

import lance
from lance.file import LanceFileReader

from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.checks.tables import problem_of
from fuseid.pipelines.store.id_order import FOLDER, OrderFiles, broken_files, coverage, named
from fuseid.pipelines.store.id_order_making import make_id_order, write_order
from fuseid.pipelines.store.indexes import KEEP_VERSIONS
from fuseid.pipelines.store.store import Store

_BATCH = 1 << 16


def damaged_id_order(store: Store) -> Iterator[Damage]:
    """An order that has all rows of the newest version is made again, outside memory, and compared."""
    contents = store.dataset("contents")
    found = broken_files(store, contents)[:1]
    if not found:
        problem = problem_of(lambda: found.append(_difference(store, contents)))
        found += [problem] if problem else []
    problem = found[0]
    if problem:
        cost = "nothing: it is made again from the rows; until then look-ups by prefix scan them"
        yield Damage("contents, ID order", problem, cost, repair=partial(make_id_order, store, KEEP_VERSIONS))


def _difference(store: Store, contents: lance.LanceDataset) -> str:
    """Empty if it is the same, if it lacks rows, and without one."""
    facts, files = named(contents), OrderFiles.of(store, contents)
    if facts is None or files is None or files.covered() != coverage(contents):
        return ""
    there = f"{store.uri.rstrip('/')}/{FOLDER}/{facts['name']}"
    with tempfile.TemporaryDirectory(prefix="fuseid-check-") as scratch:
        again = write_order(contents, scratch)
        if again["items"] != facts["items"] or again["files"].keys() != facts["files"].keys():
            return f"it lists {facts['items']} items of {again['items']}"
        for file in again["files"]:
            readers = (LanceFileReader(f"{folder}/{file}") for folder in (scratch, there))
            batches = (reader.read_all(batch_size=_BATCH).to_batches() for reader in readers)
            if any(one != other for one, other in zip(*batches, strict=True)):
                return f"its {file} does not list the rows in the order of their IDs"
    return ""
