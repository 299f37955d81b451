"""Remove: withdraws items by their ids; the ledger keeps the IDs they had."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from fuseid.core.config import Config
from fuseid.pipelines.assignment.finish import finish
from fuseid.pipelines.ingestion.removal import Withdrawal
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.sources.id_list import IdList, IdSet, given_ids
from fuseid.pipelines.store.store import Store


def remove(uri: str, ids: str | Path | Iterable[str], config: Config, progress: Progress | None = None) -> Run:
    """Removes items from `contents` and `rejected`; their IDs stay in the ledger, so that an item which is ingested
    again has the same one. Ids that the database does not have are counted.

    ids: content_ids, or the path of a list of them, in which an id may occur more than once. Raises BadInput for a list
    that cannot be read, StoreError if there is no database, LeaseHeld while another job writes.
    """
    with tempfile.TemporaryDirectory(prefix="fuseid-remove-") as scratch:
        wanted = IdSet(IdList(ids) if isinstance(ids, str | Path) else given_ids(ids), Path(scratch))
        store = Store.open(uri)
        with writing_job(store, "remove", config) as run:
            progress = run.shown_by(progress)
            with run.timed("remove"):
                withdrawal = Withdrawal(store, wanted, Path(scratch))
                progress.begin("remove", withdrawal.items)
                withdrawal.remove(run, lambda rows: progress.advance("remove", rows))
            if not wanted.listed:
                run.notes.append("nothing was removed: the list holds no ids")
            finish(store, run, config, progress, tokenizer=None)
    return run
