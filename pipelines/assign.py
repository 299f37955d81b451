"""Assign: gives IDs to the items that have none under a tokenizer."""

from __future__ import annotations

import time

from fuseid.core.config import Config
from fuseid.core.errors import StoreError
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.assignment.assign import assign as give_ids
from fuseid.pipelines.assignment.assign import check_fusion, fuse_missing
from fuseid.pipelines.jobs.progress import Progress, Silent
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.indexes import maintain
from fuseid.pipelines.store.messages import command
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.collisions import Policy
from fuseid.tokenizers.rq_kmeans import RQKMeans


def assign(uri: str, config: Config, tokenizer_id: str | None = None, progress: Progress | None = None) -> Run:
    """Gives IDs to all items that have none under a tokenizer, by default the champion.

    Raises StoreError before the first fit, FingerprintMismatch for a tokenizer fitted on another fusion's vectors.
    """
    progress = progress or Silent()
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "assign", config) as run:
        started = time.perf_counter()
        champion = store.setting("champion")
        tokenizer_id = tokenizer_id or champion
        if tokenizer_id is None:
            raise StoreError(f"{uri} has no tokenizer yet; {command('fit', uri)} makes one")
        tokenizer = store.get_artifact(RQKMeans, tokenizer_id)
        fusion = store.get_artifact(Fusion, store.setting("fusion"))
        check_fusion(tokenizer, fusion)
        fuse_missing(store, fusion)
        progress.begin("assign", None)
        run.counts["assigned"] = give_ids(
            store, tokenizer, run.run_id, champion=tokenizer_id == champion,
            policy=Policy.of(config.tokenizer), notes=run.notes, progress=lambda n: progress.advance("assign", n),
        )  # fmt: skip
        run.seconds["assign"] = time.perf_counter() - started
        maintain(store)
        run.notes.append(f"IDs of {tokenizer.id}{' (champion)' if tokenizer_id == champion else ''}")
    return run
