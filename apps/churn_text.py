"""Churn as text for the terminal: by depth and what to compare it with, by slice, and codes that split and merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from fuseid.apps.figures import figure, interval, measure_row, unit_of
from fuseid.apps.show import out, print_rows
from fuseid.pipelines.reports.findings import measure, slice_title


def print_churn(churn: Mapping[str, Any]) -> None:
    """churn: from `report`."""
    title = f"churn from {churn['from']} to {churn['to']}, {churn['items']:,} items with an ID of both"
    references = [one for one in churn["references"] if one["measures"]]
    names = [one["name"] for one in references]
    columns = ("measure", "level", "value", "95% interval", *names, "by chance", "what it is")
    print_rows(_measures(churn, references), columns, title=title)
    for one in churn["references"]:
        if one["reason"]:
            out.print(Text(f"{one['name']}: not computed, {one['reason']}"))
    out.print()
    if len(churn["slices"]) > 1:
        rows = [_slice(part) for part in churn["slices"]]
        print_rows(rows, list(dict.fromkeys(key for row in rows for key in row)), title="churn by slice")
        out.print()
    for name, text in (("split", "first codes that split"), ("merged", "first codes that merged")):
        if churn[name]:
            columns = ("code", "items", "codes", "bits", "to" if name == "split" else "from")
            print_rows((_code(one, columns[-1]) for one in churn[name]), columns, title=text)
            out.print()


def _measures(churn: Mapping[str, Any], references: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in churn["measures"]:
        unit = unit_of(one["name"])
        others = {each["name"]: measure(each["measures"], one["name"], one["level"]) for each in references}
        yield measure_row(one) | {name: figure(other["value"], unit) if other else "" for name, other in others.items()}


def _slice(part: Mapping[str, Any]) -> dict[str, Any]:
    row = {"slice": slice_title(part), "items": f"{part['items']:,}{' (few)' if part['small'] else ''}"}
    for one in part["measures"]:
        name = one["name"] if one["level"] is None else f"{one['name']} {one['level']}"
        row[name] = f"{figure(one['value'], 'share')} ({interval(one, 'share')})"
    return row


def _code(one: Mapping[str, Any], direction: str) -> dict[str, Any]:
    parts = [f"{part['code']} ({figure(part['items'] / one['items'], 'share')})" for part in one["parts"]]
    return {
        "code": str(one["code"]), "items": f"{one['items']:,}", "codes": f"{one['codes']:,}",
        "bits": f"{one['entropy']:.2f}", direction: ", ".join(parts) + (", ..." * (one["codes"] > len(parts))),
    }  # fmt: skip
