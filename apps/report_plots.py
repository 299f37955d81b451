"""The plots of a report's page, for the measures of one tokenizer or of two side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseid.apps.charts import Axis, Dot, Panel, Plot, Point, Series, bars, dots, linear, logarithmic, named
from fuseid.apps.figures import figure, tooltip, unit_of
from fuseid.apps.training_plots import training_plots
from fuseid.pipelines.reports.findings import measure, slice_title

Column = Mapping[str, Any]
Legend = list[tuple[str, str]]
# The curve of a level is drawn through at most so many codes.
_CURVE = 200
# The plot of drift shows at most so many runs, the last ones.
_RUNS = 60


def plots(columns: Sequence[Column], names: Sequence[str]) -> list[dict[str, Any]]:
    """{"title", "note", "legend", "drawn", "dots"} each; plots without data are left out."""
    drawn = [_fidelity(columns, names), _neighbours(columns, names), _code_use(columns, names)]
    drawn += [_levels(columns, names), _prefixes(columns, names), _buckets(columns, names), _drift(columns, names)]
    return [one for one in [*drawn, *training_plots(columns, names)] if one]


def _plot(title: str, note: str, legend: Legend, drawn: str, dots: bool = False) -> dict[str, Any]:
    return {"title": title, "note": note, "legend": legend, "drawn": drawn, "dots": dots}


def _percent(value: float) -> str:
    return f"{100 * value:g}%"


def _by_depth(column: Column, name: str, style: str, text: str) -> Series:
    found = [one for one in column["measures"] if one["name"] == name]
    points = [Point(one["level"] - 1, one["value"], one["low"], one["high"], tooltip(one)) for one in found]
    return Series(text, style, points)


def _depths(columns: Sequence[Column]) -> Axis:
    most = max(len(column["codebook_sizes"]) for column in columns)
    return named("depth: how many codes of the ID are read", [str(depth) for depth in range(1, most + 1)])


def _fidelity(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any] | None:
    series = [
        _by_depth(column, name, style + (" second" if number else ""), f"{text}{_of(names, number)}")
        for number, column in enumerate(columns)
        for name, style, text in (("r2", "s1", "R²"), ("cosine", "s3", "cosine"))
    ]
    if not any(one.points for one in series):
        return None
    low = min([0.0, *(point.y for one in series for point in one.points)])
    plot = Plot("R² and cosine by depth", _depths(columns), linear("R², cosine", low, 1.0, "{:.1f}".format))
    note = "Variance kept, and cosine with the vector, by the first codes. Each level should add to both."
    return _plot("What the codes keep of the vectors", note, _legend(series), plot.lines(series).drawn())


def _neighbours(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any] | None:
    shown = ("recall@10", "ndcg@10", "recall@100", "ndcg@100")
    rows = [name for name in shown if measure(columns[0]["measures"], name)]
    if not rows:
        return None
    lines = []
    for name in rows:
        found = [measure(column["measures"], name) for column in columns]
        here = [_dot(one, f"s{number}") for number, one in enumerate(found, 1) if one]
        lines.append(here + [_chance(one) for one in found[:1] if one and one["null"] is not None])
    most = max(dot.high or dot.value for line in lines for dot in line)
    axis = linear("share of exact neighbours found, with 95% interval", 0.0, min(1.0, most), _percent)
    note = "How many of an item's nearest by cosine are also nearest by common prefix. NDCG weights the nearest more."
    drawn = dots("recall and NDCG of neighbours by ID", rows, [Panel(axis, lines)], row=57)
    return _plot("Whether near IDs mean near content", note, _one_by_one(names), drawn, dots=True)


def _code_use(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any]:
    series = []
    for number, column in enumerate(columns):
        for use in column["code_use"]:
            style = f"s{(use['level'] - 1) % 4 + 1}{' second' if number else ''}"
            even, used = column["items"] / use["size"], len(use["counts"])
            ranks = sorted({round(n * (used - 1) / (_CURVE - 1)) for n in range(_CURVE)})
            points = [Point((rank + 0.5) / use["size"], use["counts"][rank] / even) for rank in ranks]
            series.append(Series(f"level {use['level']}{_of(names, number)}", style, points))
    values = [point.y for one in series for point in one.points]
    x = linear("codes, the most used first", 0.0, 1.0, _percent)
    y = logarithmic("times even use", min(*values, 0.5), max(*values, 2.0), lambda value: f"{value:g}×")
    plot = Plot("use of the codes of each level", x, y).rule(1.0, "even use").lines(series, marks=False)
    note = "A line that ends early leaves codes unused; one that falls steeply uses few of them for most items."
    return _plot("How evenly codes are used", note, _legend(series), plot.drawn())


def _drift(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any] | None:
    runs = [[run for run in column["drift"] if run["figures"]][-_RUNS:] for column in columns]
    dates = sorted({run["started_at"][:16].replace("T", " ") for history in runs for run in history})
    if not dates:
        return None
    series = []
    for number, history in enumerate(runs):
        points = [
            Point(dates.index(run["started_at"][:16].replace("T", " ")), figures["error_ratio"], figures["error_low"],
                  figures["error_high"], f"{run['run_id']}: {figures['error_ratio']:.2f}, {figures['items']:,} items")
            for run in history for figures in [run["figures"]]
        ]  # fmt: skip
        series.append(Series(names[number] if len(names) > 1 else "new items", f"s{number + 1}", points))
    most = max(point.high or point.y for one in series for point in one.points)
    x = named(
        "runs with new items", [date[5:10] if len(dates) <= 12 or not n % 6 else "" for n, date in enumerate(dates)]
    )
    y = linear("squared error, times the fit's", 0.0, max(most, 1.5), "{:.1f}".format)
    plot = Plot("quantization error of new items by run", x, y).rule(1.0, "held out").lines(series)
    note = "The error of new items, relative to items that were held out from the fit. A rise suggests a new fit."
    return _plot("Drift", note, _legend(series), plot.drawn())


_OF_LEVELS = (("utilisation", "codes in use"), ("normalised_entropy", "entropy, of the most"), ("gini_all", "Gini"))


def _levels(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any]:
    most = max(len(column["codebook_sizes"]) for column in columns)
    panels = []
    for name, title in _OF_LEVELS:
        lines = []
        for level in range(1, most + 1):
            found = [measure(column["measures"], name, level) for column in columns]
            here = [_dot(one, f"s{number}") for number, one in enumerate(found, 1) if one]
            lines.append(here + [_chance(one) for one in found[:1] if one and one["null"] is not None])
        panels.append(Panel(Axis(title, 0.0, 1.0, [(0.0, "0%"), (0.5, "50%"), (1.0, "100%")]), lines))
    rows = [f"level {level}" for level in range(1, most + 1)]
    drawn = dots("codes in use, entropy and Gini by level", rows, panels, row=max(30, 228 // most))
    note = "With 95% intervals, compared with as many codes drawn evenly at random. Even use: entropy 100%, Gini 0%."
    return _plot("How much each level carries", note, _one_by_one(names), drawn, dots=True)


def _prefixes(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any]:
    series = []
    for number, column in enumerate(columns, 1):
        found = [one for one in column["measures"] if one["name"] == "prefix_collision"]
        one = _by_depth(column, "prefix_collision", f"s{number}", "in the catalogue" + _of(names, number - 1))
        chance = [Point(m["level"] - 1, m["null"], tooltip="by chance: " + figure(m["null"], "share"))
                  for m in found if m["null"] is not None]  # fmt: skip
        # At depth 1 chance changes nothing, so its line begins at the same point.
        start = [Point(one.points[0].x, one.points[0].y)] if chance else []
        series += [one, Series("by chance" + _of(names, number - 1), "null", [*start, *chance])]
    plot = Plot("items that share a prefix, by depth", _depths(columns), linear("items", 0.0, 1.0, _percent))
    note = (
        "Items whose first codes another item has, too; at the last depth, whose whole ID. Above chance if content "
        "forms clusters; high at the end if there are too few codes."
    )
    return _plot("Items that share a prefix", note, _legend(series), plot.lines(series).drawn())


def _buckets(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any]:
    classes = max((column["bucket_sizes"] for column in columns), key=len)
    texts = [str(c["from"]) if c["from"] == c["to"] else f"{c['from']}–{c['to']}" for c in classes]
    series = []
    for number, column in enumerate(columns, 1):
        points = [
            Point(
                at,
                c["items"] / column["items"],
                tooltip=f"{c['items']:,} items with {c['buckets']:,} different codes, {text} each",
                text=figure(c["items"] / column["items"], "share") if c["items"] else "",
            )
            for at, (c, text) in enumerate(zip(column["bucket_sizes"], texts, strict=False))
        ]
        series.append(Series(names[number - 1], f"s{number}", points))
    drawn = bars(
        "items by how many have the same codes", "share of items, by how many have the same codes", texts, series
    )
    note = "At 1: no other item has these codes. Below: copies, or content that the codes do not distinguish."
    return _plot("How many items have the same codes", note, _legend(series) if len(names) > 1 else [], drawn)


_OF_SLICES = (
    ("shares_id", None, "share their ID with any item"),
    ("prefix_pairs", 1, "chance that two share code 1"),
    ("r2", 0, "R², all levels"),
    ("recall@10", None, "recall@10 by ID"),
)
_WHOLE = {"shares_id": "collision_b"}


def slices_plot(columns: Sequence[Column], names: Sequence[str]) -> dict[str, Any] | None:
    """One row for each slice, one panel for each measure; None if the only slice is the whole catalogue."""
    slices = columns[0]["slices"]
    if len(slices) < 2:
        return None
    rows = [f"{slice_title(part)} ({part['items']:,})" for part in slices]
    panels = []
    for name, level, title in _OF_SLICES:
        lines = []
        for part in slices:
            found = [_same_slice(column, part) for column in columns]
            taken = [each and measure(each["measures"], name, level) for each in found]
            pale = " pale" if part["small"] else ""
            where = f"{slice_title(part)}, {title}"
            lines.append([_dot(one, f"s{n}{pale}", where) for n, one in enumerate(taken, 1) if one])
        whole = measure(columns[0]["measures"], _WHOLE.get(name, name), level)
        values = [end for line in lines for dot in line for end in (dot.low, dot.value, dot.high) if end is not None]
        if not values:
            continue
        reference = whole["value"] if whole else None
        most = max([*values, reference or 0.0])
        text = "{:.2g}".format if unit_of(name) == "number" else _percent
        panels.append(Panel(linear(title, min(0.0, *values), most, text, 3), lines, reference))
    note = (
        "With the number of items and 95% intervals; the dotted line is the whole catalogue. Slices of fewer than 50 "
        "items are pale. R² is the share of the variance within the slice: lower if its items are all alike."
    )
    drawn = dots("measures by slice", rows, panels)
    legend = [(f"s{number}", name) for number, name in enumerate(names, 1)] if len(names) > 1 else []
    return _plot("By kind, attribute and popularity", note, legend, drawn, dots=True)


def _same_slice(column: Column, part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    named = ("by", "value", "rest")
    return next((each for each in column["slices"] if all(each[name] == part[name] for name in named)), None)


def _dot(one: Mapping[str, Any], style: str, where: str = "") -> Dot:
    return Dot(one["value"], one["low"], one["high"], style, tooltip(one, where))


def _chance(one: Mapping[str, Any]) -> Dot:
    text = f"{one['name']} by chance: {figure(one['null'], unit_of(one['name']))}"
    return Dot(one["null"], one["null_low"], one["null_high"], "null", text)


def _one_by_one(names: Sequence[str]) -> Legend:
    known = [(f"s{number}", name) for number, name in enumerate(names, 1)] if len(names) > 1 else [("s1", "here")]
    return [*known, ("null", "by chance")]


def _legend(series: Sequence[Series]) -> Legend:
    return [(one.style, one.name) for one in series]


def _of(names: Sequence[str], number: int) -> str:
    """The tokenizer's name as the end of a label, if there are two."""
    return f", {names[number]}" if len(names) > 1 else ""
