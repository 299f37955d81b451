"""Check: a database is read and compared as a whole; what is damaged is said, and repaired where that loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuseid.core.config import Config
from fuseid.core.errors import FuseidError, StoreError
from fuseid.pipelines.checks.artifacts import damaged_artifacts, damaged_settings, damaged_tags
from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.checks.ids import (
    copies_that_differ,
    doubled_ids,
    rejected_and_good,
    stale_copies,
    vectors_of_other_fusions,
)
from fuseid.pipelines.checks.tables import damaged_history, damaged_indexes, damaged_rows, damaged_table, doubled_items
from fuseid.pipelines.lease import Lease
from fuseid.pipelines.progress import Progress, Silent
from fuseid.pipelines.runs import recorded
from fuseid.pipelines.store import TABLES, Store

# One repair may bring to light what could not be seen before it; more rounds than this repair nothing.
_ROUNDS = 4


def check(
    uri: str, config: Config, repair: bool = False, new_ids: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """`tables`: version and rows of each; `damages`: what is wrong now, each with where, what, cost and remedy;
    `repaired`: the same of what was repaired.

    repair: does what loses nothing, as the only writer. new_ids: items that show an ID of another item get a new one.
    Raises StoreError where there is no database, LeaseHeld for a repair while another job writes.
    """
    progress = progress or Silent()
    store = Store.named(uri)
    repaired: list[Damage] = []
    found = list(_damages(store, new_ids, progress))
    for _ in range(_ROUNDS):
        due = [damage for damage in found if damage.repair is not None]
        if not repair or not due:
            break
        repaired += _repair(store, config, due)
        found = list(_damages(store, new_ids, progress))
    return {
        "tables": _tables(store),
        "damages": [damage.document() for damage in found],
        "repaired": [damage.document() for damage in repaired],
    }


def _repair(store: Store, config: Config, due: list[Damage]) -> list[Damage]:
    """Repairs what keeps the lease from being taken, else, under the lease, the rest."""
    # The lease first: it says whether another job writes.
    early = sorted((damage for damage in due if damage.early), key=lambda damage: damage.where != "lease")
    for damage in early:
        if damage.where != "lease":
            Lease(store).check_free()
        _run(damage)
    if early:
        return early
    with Lease(store, config.run.lease_seconds), recorded(store, "check", config) as run:
        for damage in due:
            _run(damage)
            run.notes.append(f"repaired {damage.where}: {damage.what}")
        run.counts["repaired"] = len(due)
    return due


def _run(damage: Damage) -> None:
    assert damage.repair is not None
    damage.repair()


def _damages(store: Store, new_ids: bool, progress: Progress) -> Iterator[Damage]:
    broken = {name: damage for name in TABLES if (damage := damaged_table(store, name)) is not None}
    yield from broken.values()
    whole = [name for name in TABLES if name not in broken and store.newest(name) is not None]
    for name in whole:
        yield from damaged_history(store, name)
        yield from damaged_indexes(store, name)
        yield from damaged_rows(store, name, progress)
        if name in ("contents", "rejected"):
            yield from doubled_items(store, name)
    if "assignments" not in whole:
        return
    yield from damaged_artifacts(store)
    yield from (settings := list(damaged_settings(store)))
    yield from doubled_ids(store)
    if "contents" not in whole:
        return
    yield from damaged_tags(store)
    if settings:
        return
    if "rejected" in whole:
        yield from rejected_and_good(store)
    yield from vectors_of_other_fusions(store, progress)
    yield from (copies := list(copies_that_differ(store, new_ids)))
    if not copies:
        yield from stale_copies(store)


def _tables(store: Store) -> dict[str, dict[str, int]]:
    out = {}
    for name in TABLES:
        try:
            dataset = store.newest(name)
            if dataset is not None:
                out[name] = {"version": dataset.version, "rows": dataset.count_rows()}
        except (FuseidError, OSError, RuntimeError, ValueError):
            continue
    if not out:
        raise StoreError(f"no fuseid database at {store.uri}; `fuseid ingest --db {store.uri} ...` makes one")
    return out
