"""Maintain: compacts a database, makes and extends its indexes, and measures what they find."""

from __future__ import annotations

from dataclasses import dataclass

from fuseid.core.config import Config
from fuseid.pipelines.indexing.states import IndexState, index_states
from fuseid.pipelines.indexing.upkeep import maintain as keep_up
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.store import Store


@dataclass(frozen=True)
class Maintained:
    """run: None for a dry run. indexes: as they are now."""

    run: Run | None
    indexes: list[IndexState]


def maintain(uri: str, config: Config, progress: Progress | None = None, *, dry_run: bool = False) -> Maintained:
    """What every job does at its end; and it measures every index of vectors, also one that has not changed.

    dry_run: changes nothing, and says for each index what would be done. Raises StoreError for a database without an
    item, LeaseHeld while another job writes.
    """
    store = Store.open(uri)
    store.dataset("contents")
    if dry_run:
        return Maintained(None, index_states(store, config.lookup.recall))
    with writing_job(store, "maintain", config) as run, run.timed("maintain"):
        run.shown_by(progress)
        run.notes += keep_up(store, recall=config.lookup.recall, measure_all=True)
        states = index_states(store, config.lookup.recall)
        run.counts["indexes"] = len(states)
        run.counts |= {f"outside_{state.name}": state.outside for state in states if state.outside}
    return Maintained(run, states)
