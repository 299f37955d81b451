"""The part of a report's page about churn: plots by depth and slice, figures, and codes that split or merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseid.apps.charts import Axis, Dot, Panel, Plot, Point, Series, dots, linear, named
from fuseid.apps.figures import figure, interval, title_of, tooltip, unit_of
from fuseid.pipelines.reports.findings import measure, slice_title

# The depths that have a panel in the plot of slices: no more have room beside long names.
_PANELS = 2
# Line styles of what churn is compared with, in the order of the report.
_STYLES = {"permuted": "s3", "cold": "s4", "cold, permuted": "s4 second"}


def examples_of(churn: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [e for name in ("split", "merged") for one in churn[name] for part in one["parts"] for e in part["examples"]]


def churn_section(churn: Mapping[str, Any], tiles: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The values of the template; None without an item that has both IDs. tiles: of `examples_of`, by content_id."""
    if not churn["items"]:
        return None
    references = [one for one in churn["references"] if one["measures"]]
    shown = [_by_depth(churn, references)] + ([_by_slice(churn)] if len(churn["slices"]) > 1 else [])
    return {
        "from": churn["from"],
        "to": churn["to"],
        "items": f"{churn['items']:,}",
        "others": _others(churn),
        "plots": shown,
        "names": [one["name"] for one in references],
        "rows": [_row(one, references) for one in churn["measures"]],
        "left_out": [f"{one['name']}: not computed, {one['reason']}" for one in churn["references"] if one["reason"]],
        "lists": [
            {"title": title, "note": note, "codes": [_code(one, arrow, tiles) for one in churn[name]]}
            for name, title, note, arrow in (
                ("split", "First codes that split", "Old codes, and the new ones that their items have.", "→"),
                ("merged", "First codes that merged", "New codes, and the old ones that their items had.", "←"),
            )
            if churn[name]
        ],
    }


def _others(churn: Mapping[str, Any]) -> str:
    parts = [
        f"{churn[key]:,} have one of {which} only"
        for key, which in (("only_from", "the first"), ("only_to", "the second"))
        if churn[key]
    ]
    return "; ".join(parts)


def _row(one: Mapping[str, Any], references: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    unit = unit_of(one["name"])
    others = [measure(each["measures"], one["name"], one["level"]) for each in references]
    return {
        "title": f"{title_of(one['name'])} ({one['name']})",
        "level": one["level"] or "",
        "value": figure(one["value"], unit),
        "range": interval(one, unit),
        "others": [figure(other["value"], unit) if other else "" for other in others],
        "chance": figure(one["null"], unit),
    }


def _code(one: Mapping[str, Any], arrow: str, tiles: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    kinds = "code" if one["codes"] == 1 else "codes"
    rest = one["items"] - sum(part["items"] for part in one["parts"])
    return {
        "code": one["code"],
        "note": f"{one['items']:,} items, {one['codes']:,} {kinds}, {one['entropy']:.2f} bits",
        "parts": [
            {
                "code": f"{arrow} {part['code']}",
                "share": figure(part["items"] / one["items"], "share"),
                "tiles": [tiles[e["content_id"]] for e in part["examples"] if e["content_id"] in tiles],
            }
            for part in one["parts"]
        ],
        "rest": f"and {rest:,} items of other codes" if rest else "",
    }


def _by_depth(churn: Mapping[str, Any], references: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = [one for one in churn["measures"] if one["name"] == "churn"]
    series = [Series("changed", "s2", _points(found))]
    series += [Series(one["name"], _STYLES[one["name"]], _points(one["measures"])) for one in references]
    chance = [
        Point(one["level"] - 1, one["null"], tooltip=f"by chance: {figure(one['null'], 'share')}") for one in found
    ]
    series.append(Series("by chance", "null", chance))
    depths = named("depth: how many codes of the ID are read", [str(one["level"]) for one in found])
    plot = Plot("churn by depth", depths, linear("items with another prefix", 0.0, 1.0, _percent)).lines(series)
    note = (
        "Items whose first codes change, with 95% interval. Permuted: if the new codes were renumbered in the best "
        "way. Cold: a fit without a start, on the sample."
    )
    return {
        "title": "Churn by depth", "note": note, "legend": [(one.style, one.name) for one in series],
        "drawn": plot.drawn(), "dots": False,
    }  # fmt: skip


def _by_slice(churn: Mapping[str, Any]) -> dict[str, Any]:
    panels = []
    for one in [one for one in churn["measures"] if one["name"] == "churn"][:_PANELS]:
        depth = one["level"]
        title = "first code" if depth == 1 else f"first {depth} codes"
        lines = []
        for part in churn["slices"]:
            here = measure(part["measures"], "churn", depth)
            pale = " pale" if part["small"] else ""
            where = f"{slice_title(part)}, {title}"
            lines.append(
                [Dot(here["value"], here["low"], here["high"], f"s2{pale}", tooltip(here, where))] if here else []
            )
        axis = Axis(title, 0.0, 1.0, [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")])
        panels.append(Panel(axis, lines, one["value"]))
    rows = [f"{slice_title(part)} ({part['items']:,})" for part in churn["slices"]]
    note = (
        "Items whose first codes change, with the number of items and 95% intervals; the dotted line is all of them. "
        "Slices of fewer than 50 items are pale."
    )
    return {
        "title": "Churn by slice", "note": note, "legend": [], "drawn": dots("churn by slice", rows, panels),
        "dots": True,
    }  # fmt: skip


def _points(measures: Sequence[Mapping[str, Any]]) -> list[Point]:
    return [Point(one["level"] - 1, one["value"], one["low"], one["high"], tooltip(one)) for one in measures]


def _percent(value: float) -> str:
    return f"{100 * value:g}%"
