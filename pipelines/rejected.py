"""Rejected items and the reasons, by error class and item by item; and marking them for another try."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, EncodeFailed, item_errors
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.store.incomplete import mark_lacking
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store

_COLUMNS = ("content_id", "uri", "stage", "error_class", "attempts", "first_run", "last_run", "message")


def rejected(uri: str, error_class: str | None = None, limit: int = 20) -> dict[str, Any]:
    """`items`: how many there are; `classes`: how many of each class, the commonest first; `rows`: up to `limit`.

    error_class: only these. Raises BadInput for a class that does not exist, and a limit below 0.
    """
    if limit < 0:
        raise BadInput(f"{option('limit')} must be at least 0, got {limit}")
    _check_class(error_class)
    dataset = Store.open(uri).dataset("rejected")
    where = None if error_class is None else f"error_class = {sql_string(error_class)}"
    found: Counter[tuple[str, str]] = Counter()
    for batch in dataset.to_batches(columns=["error_class", "stage"], filter=where):
        found.update(zip(batch["error_class"].to_pylist(), batch["stage"].to_pylist(), strict=True))
    rows = dataset.to_table(columns=list(_COLUMNS), filter=where, limit=limit).to_pylist() if limit else []
    return {
        "items": found.total(),
        "classes": [
            {"error_class": name, "stage": stage, "items": items} for (name, stage), items in found.most_common()
        ],
        "rows": rows,
    }


def retry(uri: str, config: Config, error_class: str | None = None, max_attempts: int | None = None) -> Run:
    """Marks the rejected items of one class, or all, for another try by the next ingest that lists them; and with all,
    or with the class EncodeFailed, items that lack a vector which an encoder could not compute.

    max_attempts: items that were tried so often, or more, are not marked. Raises BadInput if it is below 1, and for a
    class that does not exist.
    """
    if max_attempts is not None and max_attempts < 1:
        raise BadInput(f"{option('max_attempts')} must be at least 1, got {max_attempts}")
    _check_class(error_class)
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
        if error_class in (None, EncodeFailed.__name__) and (items := mark_lacking(store)):
            run.counts["incomplete"] = items
        run.notes.append("the next ingest that lists them tries them again")
    return run


def _check_class(name: str | None) -> None:
    if name is not None:
        check_known("error class", name, sorted(kind.__name__ for kind in item_errors()))
