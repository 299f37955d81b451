"""Assign: gives IDs to the items that have none under a tokenizer."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.core.errors import StoreError
from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import load_to_assign
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.store import Store


def assign(uri: str, config: Config, tokenizer_id: str | None = None, progress: Progress | None = None) -> Run:
    """Gives IDs to all items that have none under a tokenizer, by default the champion.

    Raises StoreError before the first fit, FingerprintMismatch for a tokenizer fitted on another fusion's vectors.
    Adopted IDs without codebooks give no item an ID: a note says how many items have none.
    """
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "assign", config) as run:
        champion = store.setting("champion")
        tokenizer_id = tokenizer_id or champion
        if tokenizer_id is None:
            raise StoreError(f"{uri} has no tokenizer yet; {command('fit', uri)} makes one")
        tokenizer = load_to_assign(store, tokenizer_id)
        fuse(store, run)
        finish(store, run, config, run.shown_by(progress), tokenizer, champion=tokenizer.id == champion)
        run.notes.append(f"IDs of {tokenizer.id}{' (champion)' if tokenizer.id == champion else ''}")
    return run
