"""Promote: makes a fitted tokenizer the champion, whose IDs `contents` shows."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.core.faults import reached
from fuseid.pipelines.assignment.champion import check_fusion, load_fusion, load_tokenizer
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.jobs.progress import Progress, Silent
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.store import Store


def promote(uri: str, tokenizer_id: str, config: Config, progress: Progress | None = None) -> Run:
    """Makes a fitted tokenizer the champion: its IDs become those in `contents`. The ledger keeps all.

    Raises ArtifactError for a tokenizer that the database lacks, FingerprintMismatch for one fitted on another fusion's
    vectors.
    """
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "promote", config) as run:
        settings = store.settings()
        tokenizer, fusion = load_tokenizer(store, tokenizer_id), load_fusion(store)
        check_fusion(tokenizer, fusion)
        before = settings.get("champion")
        if before == tokenizer.id:
            # A run that was killed may have promoted it already: keep what was champion before that.
            before = settings.get("champion_before")
        store.put_settings({"champion": tokenizer.id, "champion_before": before}, settings)
        reached("promote.champion")
        fuse(store, run, fusion)
        finish(store, run, config, progress or Silent(), tokenizer)
        run.notes.append(f"champion is {tokenizer.id}, before it was {before}")
    return run
