"""The result of the gate as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuseid.apps.figures import figure, interval, unit_of
from fuseid.apps.show import out, print_rows
from fuseid.core.figures import figure_named


def print_gate(found: Mapping[str, Any]) -> None:
    """found: from `gate`."""
    against = f" against {found['against']}" if found["against"] else ""
    columns = ("figure", "value", "95% interval", "limit", "end", "verdict")
    print_rows(map(_row, found["limits"]), columns, title=f"{found['tokenizer']}{against}")
    for row in found["limits"]:
        if row["why"]:
            out.print(f"{row['figure']}: {row['why']}", markup=False)


def _row(row: Mapping[str, Any]) -> dict[str, str]:
    unit = unit_of(figure_named(row["figure"]).name)
    bounds = (("at least", row["at_least"]), ("at most", row["at_most"]))
    return {
        "figure": row["figure"], "value": figure(row["value"], unit), "95% interval": interval(row, unit),
        "limit": ", ".join(f"{words} {figure(bound, unit)}" for words, bound in bounds if bound is not None),
        "end": row["end"], "verdict": row["verdict"],
    }  # fmt: skip
