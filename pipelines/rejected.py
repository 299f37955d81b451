"""What was rejected, and why: by error class, and item by item."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fuseid.core.errors import BadInput
from fuseid.pipelines.store import Store, sql_string

_COLUMNS = ("content_id", "uri", "stage", "error_class", "attempts", "first_run", "last_run", "message")


def rejected(uri: str, error_class: str | None = None, limit: int = 20) -> dict[str, Any]:
    """`items`: how many there are; `classes`: how many of each class, the commonest first; `rows`: up to `limit`.

    error_class: only these. Raises BadInput for a limit below 0.
    """
    if limit < 0:
        raise BadInput(f"--limit must be at least 0, got {limit}")
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
