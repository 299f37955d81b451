"""Rollback: puts the former champion, and its generation of fused vectors, in force again."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.core.faults import reached
from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import (
    CHAMPIONS,
    former_champion,
    load_to_assign,
    make_champion,
)
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, is_repeated, writing_job
from fuseid.pipelines.store.generations import settle
from fuseid.pipelines.store.store import Store


def rollback(uri: str, config: Config, progress: Progress | None = None) -> Run:
    """Makes the former champion champion again, in one commit; then `contents` shows its IDs.

    Repeated before any other job has run, it finishes what a killed one has begun and goes no further back. Raises
    NotReady if there was no other champion, FingerprintMismatch if its generation was dropped.
    """
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "rollback", config) as run:
        name, fusion, begun = _target(store, run)
        tokenizer = load_to_assign(store, name)
        before = make_champion(store, tokenizer, rollback=run.run_id, fusion=fusion)
        reached("rollback.champion")
        settle(store)
        fuse(store, run)
        finish(store, run, config, run.shown_by(progress), tokenizer)
        run.notes.append(f"champion is {name} again, before it was {before}")
        if begun is not None:
            further = command("promote", uri, "TOKENIZER")
            run.notes.append(f"the rollback had been done by run {begun}; {further} makes another tokenizer champion")
    return run


def _target(store: Store, run: Run) -> tuple[str, str | None, str | None]:
    """The tokenizer to go back to, and the fusion that was in force with it; and the run of a rollback to it, if no
    other job has run since."""
    history = store.setting(CHAMPIONS) or []
    begun = history[-1][2] if history and len(history[-1]) > 2 else None
    if begun is not None and is_repeated(store, begun, run):
        return history[-1][0], None, begun
    return *former_champion(store), None
