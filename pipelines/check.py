"""Check: reads and compares a whole database, reports damage, and repairs it where nothing is lost by that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from fuseid.core.config import Config
from fuseid.core.errors import DamagedTable, FuseidError, NoDatabase
from fuseid.core.surface import command
from fuseid.pipelines.checks.artifacts import damaged_artifacts, damaged_settings, damaged_tags
from fuseid.pipelines.checks.damage import Damage
from fuseid.pipelines.checks.id_order import damaged_id_order
from fuseid.pipelines.checks.ids import (
    copies_that_differ,
    doubled_ids,
    malformed_rows,
    other_codes,
    rejected_and_good,
    stale_copies,
    vectors_of_other_fusions,
)
from fuseid.pipelines.checks.tables import (
    damaged_history,
    damaged_indexes,
    damaged_rows,
    damaged_table,
    doubled_items,
    problem_of,
)
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.jobs.runs import recorded
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import TABLES

# A repair may reveal damage that could not be found before it, so it is followed by another round; at most so many.
_ROUNDS = 12


def check(
    uri: str,
    config: Config,
    repair: bool = False,
    accept_lost_ids: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`tables`: version and rows of each; `damages`: what is wrong now, each with where, what, cost and remedy;
    `repaired`: the same of what was repaired.

    repair: makes the repairs that lose nothing, as the only writer. accept_lost_ids: with `repair`, goes on where IDs
    are lost: an item that shows another ID than the ledger gave it then shows the ledger's or gets a new one, and IDs
    that an older ledger lacks may be given again.
    Raises StoreError if there is no database, it cannot be reached or has a schema version that cannot be read, and
    for a repair if it has an earlier version; LeaseHeld for a repair while another job writes.
    """
    progress = progress or Lines()
    store = Store.named(uri)
    with suppress(DamagedTable):
        store.check_readable()
    repaired: list[Damage] = []
    found = list(_damages(store, accept_lost_ids, progress))
    for _ in range(_ROUNDS):
        due = [damage for damage in found if damage.repair is not None]
        if not repair or not due:
            break
        repaired += _repair(store, config, due)
        found = list(_damages(store, accept_lost_ids, progress))
    return {
        "tables": _tables(store),
        "damages": [damage.document(store.uri) for damage in found],
        "repaired": [damage.document(store.uri) for damage in repaired],
    }


def _repair(store: Store, config: Config, due: list[Damage]) -> list[Damage]:
    """Makes the repairs without which the lease cannot be taken, or an earlier schema version not be upgraded; if there
    are none, all others under the lease."""
    # The table of the lease first: it shows whether another job is writing.
    early = sorted((damage for damage in due if damage.early), key=lambda damage: damage.where != "lease")
    for damage in early:
        if damage.where != "lease":
            Lease(store).check_free()
        _run(damage)
    if early:
        return early
    store.check_current()
    with Lease(store, config.run.lease_seconds), recorded(store, "check", config) as run:
        store.check_current()
        for damage in due:
            _run(damage)
            run.notes.append(f"repaired {damage.where}: {damage.what}")
        if any(", index " in damage.where for damage in due):
            run.notes += maintain(store, recall=config.lookup.recall)
        run.counts["repaired"] = len(due)
    return due


def _run(damage: Damage) -> None:
    assert damage.repair is not None
    damage.repair()


def _damages(store: Store, accept: bool, progress: Progress) -> Iterator[Damage]:
    """All damage, found in such an order that later checks can rely on what earlier ones found intact."""
    broken = [damage for name in TABLES for damage in _found(name, (damaged_table(store, one) for one in [name]))]
    yield from broken
    whole = [
        name for name in TABLES if name not in {damage.where for damage in broken} and store.newest(name) is not None
    ]
    for name in tuple(whole):
        yield from _found(name, damaged_history(store, name))
        rows = _found(name, damaged_rows(store, name, progress))
        yield from rows
        if rows:
            whole.remove(name)
            continue
        indexes = _found(name, damaged_indexes(store, name))
        yield from indexes
        if indexes:
            # The checks below look rows up by these indexes.
            whole.remove(name)
        elif name in ("contents", "rejected"):
            yield from _found(name, doubled_items(store, name))
    if "assignments" not in whole:
        return
    yield from _found("artifacts", damaged_artifacts(store))
    settings = _found("settings", damaged_settings(store))
    yield from settings
    yield from _found("assignments", doubled_ids(store))
    if "contents" not in whole:
        return
    yield from _found("tags", damaged_tags(store))
    if "rejected" in whole:
        yield from _found("rejected", rejected_and_good(store))
    malformed = _found("assignments", malformed_rows(store))
    yield from malformed
    if settings or malformed:
        return
    yield from _found("contents", vectors_of_other_fusions(store, progress))
    copies = _found("contents", copies_that_differ(store, accept))
    yield from copies
    if not copies:
        yield from _found("contents", other_codes(store))
        yield from _found("contents", stale_copies(store))
        yield from _found("contents", damaged_id_order(store))


def _found(where: str, look: Iterable[Damage | None]) -> list[Damage]:
    """The damage that a part of the check finds when it is iterated; that it fails on what it reads is damage, too."""
    found: list[Damage] = []
    problem = problem_of(lambda: found.extend(damage for damage in look if damage is not None))
    if problem:
        found.append(Damage(where, f"it cannot be compared: {problem}", "unknown"))
    return found


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
        raise NoDatabase(f"no fuseid database at {store.uri}; {command('ingest', store.uri, ' ...')} makes one")
    return out
