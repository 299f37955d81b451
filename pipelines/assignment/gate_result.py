"""What the gate found about a tokenizer: kept in the settings of the database, and asked before it is promoted."""

from __future__ import annotations

from typing import Any

from fuseid.core.config import Config, GateConfig
from fuseid.core.errors import FuseidError, GateFailed, NotReady
from fuseid.core.surface import command, option
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.store.pinned_tables import NAMES
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import rows_identity

_RESULT = "gate."


def put_result(
    store: Store, tokenizer_id: str, against: str | None, config: GateConfig, rows: list[dict[str, Any]]
) -> None:
    """Stores the result for a tokenizer, with what it holds for: the limits, the rows of both tables, and the tokenizer
    that it was compared with. rows: a limit each, with its `verdict`."""
    result = {
        "passed": all(row["verdict"] == "passes" for row in rows), "against": against, "limits": _limits(config),
        "data": data_identity(store), "rows": rows,
    }  # fmt: skip
    store.put_settings({_RESULT + tokenizer_id: result}, store.settings())


def data_identity(store: Store) -> dict[str, str]:
    return {name: rows_identity(store.dataset(name)) for name in NAMES}


def check_gate(store: Store, config: Config, tokenizer_id: str, run: Run, force: bool) -> None:
    """To be called before a tokenizer becomes champion. Without a `gate` in the configuration, and for the champion,
    everything passes. With `force` everything passes, too, and `run` records what would not have.

    Raises GateFailed if its result is beyond a limit; NotReady if it has no result, or one of other rows, limits or of
    another champion.
    """
    if config.gate is None:
        return
    champion = store.setting("champion")
    if champion == tokenizer_id and not force:
        # Also where a killed run has promoted it.
        return
    refusal = _refusal(store, config.gate, tokenizer_id, champion)
    if refusal is None:
        return
    if not force:
        raise refusal
    run.counts["forced"] = 1
    run.notes.append(f"promoted by {option('force')}, although {refusal}")


def _refusal(store: Store, gate: GateConfig, tokenizer_id: str, champion: str | None) -> FuseidError | None:
    result = store.setting(_RESULT + tokenizer_id)
    again = command("gate", store.uri, tokenizer=tokenizer_id)
    if result is None:
        return NotReady(f"the gate has no result for {tokenizer_id}; {again} makes one")
    stale = {
        "other limits than the configuration has": result["limits"] != _limits(gate),
        f"another tokenizer than the champion {champion} to compare with": result["against"] != champion,
        "other items or IDs than the database has now": result["data"] != data_identity(store),
    }
    for what, is_stale in stale.items():
        if is_stale:
            return NotReady(f"the gate's result for {tokenizer_id} is of {what}; {again} makes a new one")
    if not result["passed"]:
        beyond = [row["figure"] for row in result["rows"] if row["verdict"] != "passes"]
        shown = f"{again} shows the figures, {option('force')} overrules them"
        return GateFailed(f"{tokenizer_id} fails the gate: {', '.join(beyond)}; {shown}")
    return None


def _limits(gate: GateConfig) -> dict[str, Any]:
    return gate.model_dump(mode="json")
