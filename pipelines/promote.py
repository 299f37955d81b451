"""Promote: makes a fitted or adopted tokenizer the champion, whose IDs `contents` shows."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.core.faults import reached
from fuseid.pipelines.assignment.champion import load_to_assign, make_champion
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.assignment.gate_result import check_gate
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.generations import settle
from fuseid.pipelines.store.store import Store


def promote(
    uri: str, tokenizer_id: str, config: Config, progress: Progress | None = None, *, force: bool = False
) -> Run:
    """Makes a fitted or adopted tokenizer the champion: its IDs become those in `contents`. The ledger keeps all. A
    tokenizer of the other generation puts that generation in force, in the same commit.

    force: also if the gate refuses it. Raises ArtifactError for a tokenizer that the database lacks,
    FingerprintMismatch for one fitted on vectors that it does not have, and what `check_gate` raises.
    """
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "promote", config) as run:
        tokenizer = load_to_assign(store, tokenizer_id)
        check_gate(store, config, tokenizer.id, run, force)
        before = make_champion(store, tokenizer)
        reached("promote.champion")
        settle(store)
        fuse(store, run)
        finish(store, run, config, run.shown_by(progress), tokenizer)
        run.notes.append(f"champion is {tokenizer.id}, before it was {before}")
    return run
