"""Figures of a report as text, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseid.tokenizers.measures import Definition, definition

# Not one of the tokenizers' measures: only slices have it.
_SHARES_ID = "Items that share their ID with any other"

MADE_FROM = {
    "frames": "pictures",
    "caption": "caption",
    "both": "pictures and caption",
    "outside": "brought ready-made",
}


def unit_of(name: str) -> str:
    return "share" if name == "shares_id" else definition(name).unit


def title_of(name: str) -> str:
    """The title of a measure, with its k filled in."""
    if name == "shares_id":
        return _SHARES_ID
    found: Definition = definition(name)
    return found.title.replace(" k ", f" {name.partition('@')[2]} ")


def short_names(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names of a report's tokenizers: `champion` and `candidate`, or the ids of two candidates."""
    if len(columns) > 1 and not any(column["champion"] for column in columns):
        return [str(column["id"]) for column in columns]
    return ["champion" if column["champion"] else "candidate" for column in columns]


def ranking_titles(document: Mapping[str, Any]) -> list[str]:
    """What each row of a report's partners is ranked by."""
    columns, rows = document["tokenizers"], document["partners"]["rows"]
    short = dict(zip((column["id"] for column in columns), short_names(columns), strict=True))

    def one_of(name: str, row: Mapping[str, Any], key: str = "of") -> str:
        """With the id, if there are several of this kind."""
        several = len({each[key] for each in rows if (each["kind"], each["by"]) == (row["kind"], row["by"])}) > 1
        return f"{name} {short.get(row[key], row[key])}" if several else name

    def title(row: Mapping[str, Any]) -> str:
        if row["kind"] == "linear" and row["by"] == "id":
            return one_of("IDs of the linear fusion", row, "like")
        if row["kind"] in ("learned", "linear"):
            return one_of(f"{row['kind']} fusion", row)
        return {
            "ids": f"IDs of {short.get(row['of'], row['of'])}", "modality": f"{row['of']} alone",
            "attribute": f"same {row['of']}", "chance": "random order",
        }[row["kind"]]  # fmt: skip

    return [f"{title(row)}, permuted partners" if row["permuted"] else title(row) for row in rows]


def asked_pairs(partners: Mapping[str, Any]) -> str:
    """Which pairs were asked for, and among how many items."""
    by = partners["held_out_by"]
    out = f"held out by {' and '.join(by)}" if by else "held out as a fit would"
    return (
        f"{partners['asked']:,} of {partners['known']:,} pairs, {out}: partners of {partners['anchors']:,} items among "
        f"{partners['candidates']:,}"
    )


def figure(value: float | None, unit: str) -> str:
    """A share in percent, a whole count as an integer, anything else with three digits."""
    if value is None:
        return ""
    if unit == "share":
        return f"{_digits(100 * value)}%"
    if unit == "count" and value == round(value):
        return f"{value:,.0f}"
    return _digits(value)


def interval(one: Mapping[str, Any], unit: str) -> str:
    """`9.4 to 10.3%`, or empty."""
    if one["low"] is None or one["high"] is None:
        return ""
    return f"{figure(one['low'], unit).removesuffix('%')} to {figure(one['high'], unit)}"


def tooltip(one: Mapping[str, Any], where: str = "") -> str:
    """A measure in one line for a tooltip: its title, its value, its interval, its value by chance."""
    unit = unit_of(one["name"])
    parts = [f"{where or title_of(one['name'])}: {figure(one['value'], unit)}"]
    if one["low"] is not None:
        parts.append(f"95% interval {interval(one, unit)}")
    if one["null"] is not None:
        parts.append(f"by chance {figure(one['null'], unit)}")
    return ", ".join(parts)


def measure_row(one: Mapping[str, Any]) -> dict[str, str]:
    """A measure as a row of a table on the terminal, by column."""
    unit = unit_of(one["name"])
    return {
        "measure": one["name"],
        "level": str(one["level"] or ""),
        "value": figure(one["value"], unit),
        "95% interval": interval(one, unit),
        "by chance": figure(one["null"], unit),
        "what it is": title_of(one["name"]),
    }


def _digits(value: float) -> str:
    """Three significant digits, never with an exponent; values below 0.00005 are 0."""
    value = float(f"{value:.3g}")
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    text = f"{value:.3f}" if size >= 0.01 or size == 0 else f"{value:.2g}"
    return "0" if size < 5e-5 else text if "e" not in text else f"{value:.4f}"
