"""Drop: frees a generation of fused vectors that is not in force."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.pipelines.assignment.finish import finish
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.generations import drop_generation
from fuseid.pipelines.store.store import Store


def drop(uri: str, generation: int, config: Config, progress: Progress | None = None) -> Run:
    """Forgets a generation and frees the column of its vectors. Its tokenizers and their IDs in the ledger stay, since
    no ID may be given again; the files are removed with the versions of `contents` that use them, after seven days.

    Raises BadInput for a generation that never was, NotReady for the one in force.
    """
    store = Store.open(uri)
    store.dataset("contents")
    with writing_job(store, "drop", config) as run:
        if drop_generation(store, generation):
            run.notes.append(f"dropped generation {generation}")
        else:
            run.notes.append(f"generation {generation} had been dropped before")
        finish(store, run, config, run.shown_by(progress), tokenizer=None)
    return run
