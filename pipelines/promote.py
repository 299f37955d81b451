"""Promote: makes a fitted tokenizer the champion, whose IDs `contents` shows."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.core.errors import StoreError
from fuseid.core.faults import reached
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.assign import assign as give_ids
from fuseid.pipelines.assignment.assign import check_fusion
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.indexes import maintain
from fuseid.pipelines.store.messages import command
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.collisions import Policy
from fuseid.tokenizers.rq_kmeans import RQKMeans


def promote(uri: str, tokenizer_id: str, config: Config) -> Run:
    """Makes a fitted tokenizer the champion: its IDs become those in `contents`. The ledger keeps all.

    Raises ArtifactError for one that is not here, FingerprintMismatch for one fitted on another fusion's vectors.
    """
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "promote", config) as run:
        settings = store.settings()
        tokenizer = store.get_artifact(RQKMeans, tokenizer_id)
        _check_fits_here(store, tokenizer)
        before = settings.get("champion")
        if before == tokenizer.id:
            # Promoted already, by a run that was killed perhaps: what was champion before stays known.
            before = settings.get("champion_before")
        store.put_settings({"champion": tokenizer.id, "champion_before": before}, settings)
        reached("promote.champion")
        run.counts["assigned"] = give_ids(
            store, tokenizer, run.run_id, champion=True, policy=Policy.of(config.tokenizer), notes=run.notes
        )
        maintain(store)
        run.notes.append(f"champion is {tokenizer.id}, before it was {before}")
    return run


def _check_fits_here(store: Store, tokenizer: RQKMeans) -> None:
    fusion_id = store.setting("fusion")
    if fusion_id is None:
        raise StoreError(f"{store.uri} has no fusion yet; {command('fit', store.uri)} makes one")
    check_fusion(tokenizer, store.get_artifact(Fusion, fusion_id))
