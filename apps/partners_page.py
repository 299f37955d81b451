"""The part of a report's page about co-engaged items: how often held-out partners are near, by what they are ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fuseid.apps.charts import Dot, Panel, dots, linear
from fuseid.apps.figures import asked_pairs, figure, interval, ranking_titles
from fuseid.apps.partners_text import times

_STYLES = {"ids": "s1", "learned": "s2", "linear": "s3"}
_LEGEND = [("s1", "IDs"), ("s2", "learned fusion"), ("s3", "linear fusion"), ("null", "others")]


def partners_section(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of the template; None for a report without pairs."""
    partners = document["partners"]
    if partners is None:
        return None
    titles = ranking_titles(document)
    shown = [(title, row) for title, row in zip(titles, partners["rows"], strict=True) if row["figures"]]
    parts = [row for row in partners["parts"] if row["asked"]]
    unknown = (
        f" {partners['unknown_ids']:,} ids of pairs are of no item with a vector." if partners["unknown_ids"] else ""
    )
    return {
        "asked": f"{asked_pairs(partners)}.{unknown}",
        "plot": _plot(shown, parts),
        "parts": [row["part"] for row in parts[1:]],
        "rows": [_row(title, row, parts[1:]) for title, row in shown],
        "left_out": [
            f"{title}: not computed, {row['reason']}"
            for title, row in zip(titles, partners["rows"], strict=True)
            if row["reason"]
        ],
    }


def _row(title: str, row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_part = {one["part"]: one for one in row["figures"]}
    # Every ranking has figures of all partners if it has any.
    hit, ndcg = by_part["all"]["hit@10"], by_part["all"]["ndcg@10"]
    return {
        "title": title,
        "hit": (figure(hit["value"], "share"), interval(hit, "share")),
        "times": times(row),
        "ndcg": (figure(ndcg["value"], "number"), interval(ndcg, "number")),
        "parts": [
            (figure(one["hit@10"]["value"], "share"), interval(one["hit@10"], "share")) if one else ("", "")
            for one in (by_part.get(part["part"]) for part in parts)
        ],
    }


def _plot(shown: Sequence[tuple[str, Mapping[str, Any]]], parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    hits = {(title, one["part"]): one["hit@10"] for title, row in shown for one in row["figures"]}
    most = max(one["high"] or one["value"] for one in hits.values())
    panels = []
    for part in parts:
        lines = []
        for title, row in shown:
            one = hits.get((title, part["part"]))
            style = "null" if row["permuted"] else _STYLES.get(row["kind"], "null")
            lines.append([_dot(one, style, title)] if one else [])
        axis = linear(f"{part['part']}: {part['asked']:,} partners", 0.0, most, "{:.0%}".format, 3)
        panels.append(Panel(axis, lines))
    drawn = dots("held-out partners among the 10 nearest items", [title for title, _ in shown], panels)
    note = (
        "How many of the held-out partners of an item are among its 10 nearest, with 95% intervals. Head, middle and "
        "tail: partners that are in the most pairs (a fifth of the items), in fewer (three tenths), in the fewest."
    )
    title = "Partners among the 10 nearest"
    return {"title": title, "note": note, "legend": _LEGEND, "drawn": drawn, "dots": True}


def _dot(one: Mapping[str, Any], style: str, title: str) -> Dot:
    text = f"{title}: {figure(one['value'], 'share')}"
    known = one["low"] is not None
    return Dot(
        one["value"],
        one["low"],
        one["high"],
        style,
        f"{text}, 95% interval {interval(one, 'share')}" if known else text,
    )
