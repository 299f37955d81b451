"""Drift of a database: every ingest records how well its new items were quantized, and notes when a new fit is due."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fuseid.core.config import TokenizerConfig
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import command
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.drift import CodeUse, drift, enough


def record_drift(store: Store, tokenizer: Tokenizer, new: CodeUse, config: TokenizerConfig, run: Run) -> None:
    """Records the figures of a run's new items in the run, and a note if they are beyond the limits of the config. If
    the items are few, they are judged together with those of the runs before.

    Nothing is judged if the fit had too few items to hold any out.
    """
    if not new.items:
        return
    run.drift = {"tokenizer_id": tokenizer.id, "use": new.document()}
    held_out = tokenizer.meta["metrics"].get("held_out")
    together = _with_runs_before(store, tokenizer.id, new)
    if held_out is None or not enough(together):
        return
    found = drift(CodeUse.of(held_out), together)
    reasons = found.reasons(config.drift_error, config.drift_divergence)
    run.drift |= {"figures": asdict(found), "reasons": reasons}
    if reasons:
        run.notes.append(
            f"drift of the last {found.items} new items: {'; '.join(reasons)}. "
            f"{command('fit', store.uri)} makes a candidate to compare and promote"
        )


def drift_history(store: Store, tokenizer_id: str) -> list[dict[str, Any]]:
    """For every run that gave IDs under a tokenizer, oldest first: run_id, started_at, items, error (the mean squared
    error of its own new items) and, if they could be judged, figures and reasons."""
    return [
        {
            "run_id": row["run_id"],
            "started_at": row["started_at"].isoformat(),
            "items": row["drift"]["use"]["items"],
            "error": CodeUse.of(row["drift"]["use"]).error,
            "figures": row["drift"].get("figures"),
            "reasons": row["drift"].get("reasons", []),
        }
        for row in _recorded(store, tokenizer_id)
    ]


def _with_runs_before(store: Store, tokenizer_id: str, new: CodeUse) -> CodeUse:
    together = CodeUse([len(counts) for counts in new.histogram])
    together.merge(new)
    for row in reversed(_recorded(store, tokenizer_id)):
        if enough(together):
            break
        together.merge(CodeUse.of(row["drift"]["use"]))
    return together


def _recorded(store: Store, tokenizer_id: str) -> list[dict[str, Any]]:
    where = f"drift LIKE {sql_string(f'%{tokenizer_id}%')}"
    rows = store.dataset("runs").to_table(columns=["run_id", "started_at", "drift"], filter=where).to_pylist()
    rows = [row | {"drift": json.loads(row["drift"])} for row in rows]
    return sorted(
        (row for row in rows if row["drift"]["tokenizer_id"] == tokenizer_id), key=lambda row: row["started_at"]
    )
