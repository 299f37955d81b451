"""A report as text for the terminal: the figures by slice and by measure, and at the end what stands out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from fuseid.apps.churn_text import print_churn
from fuseid.apps.figures import MADE_FROM, figure, interval, measure_row, short_names, title_of, unit_of
from fuseid.apps.index_text import print_indexes
from fuseid.apps.partners_text import print_partners
from fuseid.apps.show import out, print_facts, print_rows
from fuseid.pipelines.indexing.states import IndexState
from fuseid.pipelines.reports.findings import slice_title
from fuseid.pipelines.store.incomplete import remedy

# Slices cannot be compared by these measures, which depend on the number of items.
_OF_ITS_SIZE = ("collision_a", "collision_b", "prefix_collision")


def print_report(document: Mapping[str, Any]) -> None:
    columns = document["tokenizers"]
    names = short_names(columns)
    print_rows([_vectors(one) for one in document["vectors"]], ("vectors", "made from", "numbers", "items", "weight"))
    if document["incomplete"]["items"]:
        out.print(Text(remedy(document["database"], document["incomplete"])))
    if any(index["recall"] is not None for index in document.get("indexes", [])):
        print_indexes([IndexState(**index) for index in document["indexes"]])
    out.print()
    for name, column in zip(names, columns, strict=True):
        facts = {
            "items with an ID": f"{column['items']:,} of {document['items']:,}",
            "with a suffix": f"{column['suffixed']:,}",
            "edited since": f"{column['edited']:,}",
            "codebook_sizes": column["codebook_sizes"],
            "vectors looked at": f"{column['sampled']:,}, neighbours of {column['queries']:,}",
        }
        print_facts(facts, title=f"{name} {column['id']}")
        out.print()
        if fusion := column.get("fusion"):
            print_rows(map(_epoch_of_fusion, fusion["history"]), list(_epoch_of_fusion(fusion["history"][0])),
                       title=f"how {fusion['id']} learned; epoch {fusion['best_epoch']} was kept")  # fmt: skip
            out.print()
        if column["history"]:
            print_rows(map(_epoch, column["history"]), list(_epoch(column["history"][0])),
                       title=f"how the fit went; epoch {column['fit']['best_epoch']} was kept")  # fmt: skip
            out.print()
        if len(column["slices"]) > 1:
            rows = [_slice(part) for part in column["slices"]]
            print_rows(rows, list(dict.fromkeys(key for row in rows for key in row)), title="slices")
            out.print()
        if len(columns) == 1:
            columns_shown = ("measure", "level", "value", "95% interval", "by chance", "what it is")
            print_rows(map(measure_row, column["measures"]), columns_shown, title="measures")
    if len(columns) > 1:
        print_rows(
            _compared(document, names), ("measure", "level", *names, "better", "what it is"), title="side by side"
        )
        out.print()
        print_churn(document["churn"])
    if document["partners"]:
        out.print()
        print_partners(document)
    print_findings(document)


def print_findings(document: Mapping[str, Any]) -> None:
    columns = document["tokenizers"]
    for name, column in zip(short_names(columns), columns, strict=True):
        out.print()
        out.print(Text("what stands out" + (f" of the {name}" if len(columns) > 1 else ""), style="bold"))
        for row in column["stands_out"]:
            style = "yellow" if row["weight"] == "warning" else ""
            out.print(Text.assemble((f"{row['rule']}: ", style), row["text"]))
        if not column["stands_out"]:
            out.print(Text("nothing, by the rules of docs/quality.md"))


def _vectors(one: Mapping[str, Any]) -> dict[str, Any]:
    weight = "not fused" if one["weight"] is None else f"{one['weight']:g}"
    return {
        "vectors": one["name"], "made from": MADE_FROM[one["made_from"]], "numbers": str(one["numbers"]),
        "items": f"{one['items']:,}", "weight": weight,
    }  # fmt: skip


def _slice(part: Mapping[str, Any]) -> dict[str, Any]:
    row = {"slice": slice_title(part), "items": f"{part['items']:,}{' (few)' if part['small'] else ''}"}
    for one in part["measures"]:
        if one["name"] in _OF_ITS_SIZE:
            continue
        name = one["name"] if one["level"] is None else f"{one['name']} {one['level']}"
        row[name] = figure(one["value"], unit_of(one["name"]))
    return row


def _epoch(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "epoch": str(row["epoch"]),
        "R² held out": f"{row['r2']:.4f}",
        "entropy": " ".join(f"{value:.1%}" for value in row["entropy"]),
        "dead codes": " ".join(map(str, row["dead"])),
        "left": " ".join(f"{value:.1%}" for value in row["residual"]),
    }


def _epoch_of_fusion(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "epoch": str(row["epoch"]),
        "loss": "" if row["loss"] is None else f"{row['loss']:.3f}",
        "held-out partners in 10": f"{row['hit@10']:.1%}",
        "content neighbours kept": f"{row['content_kept']:.1%}",
        "temperature": f"{row['temperature']:.3f}",
    }


def _compared(document: Mapping[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    called = dict(zip((column["id"] for column in document["tokenizers"]), names, strict=True))
    for row in document["comparison"]:
        unit = unit_of(row["name"])
        cells = [f"{figure(one['value'], unit)} ({interval(one, unit)})" for one in (row["first"], row["second"])]
        yield {
            "measure": row["name"],
            "level": str(row["first"]["level"] or ""),
            names[0]: cells[0].removesuffix(" ()"),
            names[1]: cells[1].removesuffix(" ()"),
            "better": called.get(row["better"], ""),
            "what it is": title_of(row["name"]),
        }
