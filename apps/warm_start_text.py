"""An evaluation of warm starts as text for the terminal: how soon the old figures are reached, and the curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from fuseid.apps.show import out, print_facts, print_rows

_RECALL, _LOSS = "recall@10", "loss"


def print_warm_start(document: Mapping[str, Any]) -> None:
    examples, setting, old = document["examples"], document["setting"], document["old"]
    facts = {
        "items": f"{document['items']:,}",
        "examples": f"{examples['train']:,} to train on, {examples['tested']:,} of {examples['users']:,} users tested",
        "setting": f"{setting['name']}, {document['seeds']} seeds",
        "steps": f"{old['steps']:,}",
        _RECALL: f"{_percent(old[_RECALL])}%",
        _LOSS: f"{_nats(old[_LOSS])} nats",
    }
    print_facts(facts, title=f"old IDs: {document['tokenizer_id']}")
    out.print()
    print_rows(
        [{"IDs": row["tokenizer_id"], "model": row["start"], **_reached(row)} for row in document["new"]],
        ("IDs", "model", "recall", "loss"),
        title=f"steps until {100 * document['share']:.0f}% of the old figure is reached (95% interval)",
    )
    for row in document["new"]:
        out.print()
        kept = ", ".join(f"{100 * share:.1f}" for share in row["kept"])
        print_rows(
            [
                {"steps": f"{point['steps']:,}", "recall@10, %": _percent(point[_RECALL]), "loss": _nats(point[_LOSS])}
                for point in row["curve"]
            ],
            ("steps", "recall@10, %", "loss"),
            title=f"{row['tokenizer_id']}, {row['start']}; equal to the old ID in 1, 2, ... codes: {kept}%",
        )
    out.print(Text(f"{document['seconds']:,.0f} s in all; docs/evaluation.md says how to read this"))


def _reached(row: Mapping[str, Any]) -> dict[str, str]:
    last = row["curve"][-1]["steps"]
    names = {_RECALL: "recall", _LOSS: "loss"}
    return {names[measure]: _steps(found, last) for measure, found in row["reached"].items()}


def _steps(found: Mapping[str, int | None], last: int) -> str:
    value, low, high = (_number(found[name], last) for name in ("steps", "low", "high"))
    return value if low == high == value else f"{value} ({low} to {high})"


def _number(steps: int | None, last: int) -> str:
    return f"over {last:,}" if steps is None else f"{steps:,}"


def _percent(one: Mapping[str, Any]) -> str:
    return _figure(one, 100)


def _nats(one: Mapping[str, Any]) -> str:
    return _figure(one, 1)


def _figure(one: Mapping[str, Any], factor: float) -> str:
    value = f"{factor * one['value']:.2f}"
    if one["low"] is None:
        return value
    return f"{value} ({factor * one['low']:.2f} to {factor * one['high']:.2f})"
