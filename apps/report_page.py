"""One self-contained HTML page of a report: headline figures, what stands out, plots, examples, every measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fuseid.apps.churn_page import churn_section, examples_of
from fuseid.apps.figures import MADE_FROM, figure, interval, short_names, title_of, unit_of
from fuseid.apps.page import render, tile
from fuseid.apps.partners_page import partners_section
from fuseid.apps.report_plots import plots, slices_plot
from fuseid.pipelines.reports.findings import measure
from fuseid.pipelines.store.incomplete import remedy
from fuseid.pipelines.store.rows import rows_by_id
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.measures import DEFINITIONS, NULLS, definition


def write_report_page(document: Mapping[str, Any], path: Path) -> None:
    """document: from `report`. The pictures of the examples are read from the present state of its database."""
    columns = document["tokenizers"]
    labels, styles = short_names(columns), [f"s{number}" for number in range(1, len(columns) + 1)]
    names = [f"{label} {column['id']}" for label, column in zip(labels, columns, strict=True)]
    single = len(columns) == 1
    first = columns[0]
    page = render(
        "report.html.j2",
        database=document["database"],
        subtitle=f"{document['items']:,} items · {document['made_at'][:16].replace('T', ' ')} UTC",
        names=list(zip(styles, names, strict=True)),
        short=[("", "value")] if single else list(zip(styles, labels, strict=True)),
        headline=_headline(columns),
        stands_out=[("" if single else name, c["stands_out"]) for name, c in zip(names, columns, strict=True)],
        comparison=[_compared(row, columns) for row in document["comparison"]],
        plots=plots(columns, labels),
        slices=slices_plot(columns, labels),
        churn=_churn(document),
        partners=partners_section(document),
        prefixes=_with_tiles(document["database"], first["prefixes"]),
        measured=(
            f"Codes were looked at for all {first['items']:,} items, vectors for a sample of {first['sampled']:,}, "
            f"and neighbours for {first['queries']:,} of them among that sample."
        ),
        groups=_groups(columns),
        nulls=NULLS.items(),
        facts=_facts(document, columns),
    )
    path.write_text(page, encoding="utf-8")


def _headline(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Cards: a title, the value of each tokenizer, and for the first one its interval and its value by chance."""
    first = columns[0]
    cards = [
        {
            "title": "items with an ID",
            "values": [f"{column['items']:,}" for column in columns],
            "note": f"{first['without_id']:,} without, {first['suffixed']:,} with a suffix",
        }
    ]
    wanted = (
        ("collision_b", None, "of the items share their ID with another"),
        ("normalised_entropy", 1, "entropy of the first codes; 100% is even use"),
        ("r2", 0, "R²: share of the vectors' variance that the codes keep"),
        ("recall@10", None, "recall@10: exact neighbours that are near by ID too"),
        ("lcp_ratio@10", None, "times as long a common prefix among neighbours as among any two"),
    )
    for name, level, title in wanted:
        found = [one for column in columns if (one := measure(column["measures"], name, level))]
        if len(found) < len(columns):
            continue
        unit = unit_of(name)
        note = [f"95% interval {interval(found[0], unit)}"] if found[0]["low"] is not None else []
        if found[0]["null"] is not None and name != "r2":
            note.append(f"by chance {figure(found[0]['null'], unit)}")
        values = [figure(one["value"], unit) for one in found]
        cards.append({"title": title, "values": values, "note": ", ".join(note)})
    return cards


def _compared(row: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    unit = unit_of(row["name"])
    cells = [(figure(one["value"], unit), interval(one, unit)) for one in (row["first"], row["second"])]
    better = dict(zip((column["id"] for column in columns), short_names(columns), strict=True))
    return {
        "title": f"{title_of(row['name'])} ({row['name']})",
        "level": " / ".join(dict.fromkeys(str(row[which]["level"] or "") for which in ("first", "second"))),
        "cells": cells,
        "better": better.get(row["better"], "–"),
    }


def _churn(document: Mapping[str, Any]) -> dict[str, Any] | None:
    churn = document["churn"]
    return churn and churn_section(churn, _tiles(document["database"], examples_of(churn)))


def _tiles(uri: str, examples: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The tile of each example, by content_id."""
    by_id = {example["content_id"]: example for example in examples}
    columns = ("content_id", "kind", "sid", "caption", "thumbnail")
    rows = rows_by_id(Store.open(uri).dataset("contents"), sorted(by_id), columns)
    # Examples have the ID of the reported tokenizer, which may not be the champion, and perhaps a generated caption.
    return {row["content_id"]: tile({**row, **by_id[row["content_id"]]}) for row in rows}


def _with_tiles(uri: str, prefixes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    tiles = _tiles(uri, (e for prefix in prefixes for depth in prefix["depths"] for e in depth["examples"]))
    return [
        {
            **prefix,
            "depths": [
                {**depth, "tiles": [tiles[e["content_id"]] for e in depth["examples"] if e["content_id"] in tiles]}
                for depth in prefix["depths"]
            ],
        }
        for prefix in prefixes
    ]


def _groups(columns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The tables of measures, by group: for each measure one row per level, with the cells of each tokenizer."""
    by_group: dict[str, list[dict[str, Any]]] = {each.group: [] for each in DEFINITIONS.values()}
    for name in dict.fromkeys(one["name"] for column in columns for one in column["measures"]):
        meaning, unit = definition(name), unit_of(name)
        levels = dict.fromkeys(one["level"] for column in columns for one in column["measures"] if one["name"] == name)
        rows = []
        for level in levels:
            found = [measure(column["measures"], name, level) for column in columns]
            cells = [
                (figure(one["value"], unit), interval(one, unit), figure(one["null"], unit)) if one else ("", "", "")
                for one in found
            ]
            rows.append({"level": level or "", "cells": cells})
        by_group[meaning.group].append(
            {
                "name": name, "title": title_of(name), "formula": meaning.formula, "source": meaning.source,
                "better": meaning.better, "interval": meaning.interval, "null": meaning.null,
                "by": "" if meaning.by == "whole" else meaning.by, "rows": rows,
            }
        )  # fmt: skip
    return [{"name": group, "measures": found} for group, found in by_group.items() if found]


def _facts(document: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    versions, asked = document["versions"], document["asked"]
    rows: list[tuple[str, list[Any]]] = [("tokenizer", [column["id"] for column in columns])]
    for name in dict.fromkeys(name for column in columns for name in column["config"]):
        rows.append((name, [column["config"].get(name) for column in columns]))
    for name in dict.fromkeys(name for column in columns for name in column["fit"]):
        rows.append((f"at the fit: {name}", [_short(column["fit"].get(name)) for column in columns]))
    for one in document["vectors"]:
        weight = "not fused" if one["weight"] is None else f"weight {one['weight']:g}"
        made = f"{one['numbers']} numbers, {MADE_FROM[one['made_from']]}, {one['items']:,} items, {weight}"
        rows.append((f"vectors: {one['name']}", [made]))
    if document["incomplete"]["items"]:
        rows.append(("incomplete", [remedy(document["database"], document["incomplete"])]))
    rows.append(("database", [f"{document['database']}, contents at version {versions['contents']}, "
                              f"assignments at version {versions['assignments']}"]))  # fmt: skip
    rows.append(("asked for", [f"a sample of {asked['sample']:,}, {asked['queries']:,} queries, seed {asked['seed']}"]))
    return rows


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(str(_short(one)) for one in value)
    return f"{value:.3f}" if isinstance(value, float) else value
