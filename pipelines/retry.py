"""Retry: rejected items are skipped while they stay as they are; this makes the next ingest try them again."""

from __future__ import annotations

from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.pipelines.runs import Run, writing_job
from fuseid.pipelines.store import Store, sql_string


def retry(uri: str, config: Config, error_class: str | None = None, max_attempts: int | None = None) -> Run:
    """Marks the rejected items of one class, or all, for another try by the next ingest that lists them.

    max_attempts: items that were tried as often are left alone. Raises BadInput where it is below 1.
    """
    if max_attempts is not None and max_attempts < 1:
        raise BadInput(f"--max-attempts must be at least 1, got {max_attempts}")
    store = Store.open(uri)
    with writing_job(store, "retry", config) as run:
        where = "fingerprint <> ''" + (f" AND error_class = {sql_string(error_class)}" if error_class else "")
        table = store.dataset("rejected")
        candidates = table.count_rows(where)
        if max_attempts is not None:
            where += f" AND attempts < {max_attempts}"
        run.counts["marked"] = table.count_rows(where)
        run.counts["left_alone"] = candidates - run.counts["marked"]
        if run.counts["marked"]:
            store.update("rejected", {"fingerprint": "''"}, where)
        run.notes.append("the next ingest that lists them tries them again")
    return run
