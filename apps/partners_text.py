"""How often held-out partners are among an item's nearest, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fuseid.apps.figures import asked_pairs, figure, interval, ranking_titles
from fuseid.apps.show import print_rows


def print_partners(document: Mapping[str, Any]) -> None:
    partners = document["partners"]
    parts = [row["part"] for row in partners["parts"] if row["asked"]]
    columns = ("ranked by", "hit@10", "95% interval", "times linear", "ndcg@10", *parts[1:])
    print_rows(_rows(document), columns, title=f"partners in the 10 nearest; {asked_pairs(partners)}")


def _rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rows = document["partners"]["rows"]
    for title, row in zip(ranking_titles(document), rows, strict=True):
        if row["reason"]:
            yield {"ranked by": title, "hit@10": row["reason"]}
        cells: dict[str, str] = {"ranked by": title}
        for one in row["figures"]:
            hit = one["hit@10"]
            if one["part"] == "all":
                shown = {"hit@10": figure(hit["value"], "share"), "95% interval": interval(hit, "share")}
                cells |= shown | {"ndcg@10": figure(one["ndcg@10"]["value"], "number"), "times linear": times(row)}
            else:
                cells[one["part"]] = figure(hit["value"], "share")
        if row["figures"]:
            yield cells


def times(row: Mapping[str, Any]) -> str:
    """`1.68 (1.42 to 1.99)`: a hit rate divided by that of the linear fusion."""
    one = row["times"]
    if one is None:
        return ""
    between = interval(one, "number")
    return figure(one["value"], "number") + (f" ({between})" if between else "")
