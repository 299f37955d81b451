"""An evaluation as text for the terminal: the measures of each kind of ID, and the lead of the semantic IDs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from fuseid.apps.show import out, print_facts, print_rows

# Columns of the table about places of cold items.
_COLD = ("IDs", "places", "codes", "cold", "warm", "warm, more", "all, more")


def print_evaluation(document: Mapping[str, Any]) -> None:
    examples, setting = document["examples"], document["setting"]
    facts = {
        "items": f"{document['items']:,}",
        "examples": f"{examples['train']:,} to train on, {examples['tested']:,} of {examples['users']:,} users tested",
        "codebook_sizes": document["codebook_sizes"],
        "setting": f"{setting['name']}, {document['seeds']} seeds",
    }
    print_facts(facts, title=f"semantic: {document['tokenizer_id']}")
    measures = list(dict.fromkeys(row["measure"] for row in document["measures"]))
    for part in document["slices"]:
        out.print()
        title = (
            f"{part['slice']}: {part['examples']:,} examples of {part['users']:,} users among {part['ranked']:,} items"
        )
        print_rows(_measures(document, part["slice"]), ("IDs", *measures), title=f"{title}; % (95% interval)")
    if document["differences"]:
        out.print()
        rows = list(_differences(document))
        print_rows(rows, ("slice", "less", *measures), title="semantic less each control, points (95% interval)")
    if document["cold_places"]:
        out.print()
        title = "with places for cold items, recall@10 (95% interval), and points more than without"
        print_rows(list(_cold_places(document)), _COLD, title=title)
    out.print()
    print_rows(_ids(document), ("IDs", "no item, free", "no item, trie", "with suffix", "steps", "loss", "s a seed"))
    out.print(Text(f"{document['seconds']:,.0f} s in all; docs/evaluation.md says how to read this"))


def _measures(document: Mapping[str, Any], part: str) -> Iterator[dict[str, str]]:
    for name in dict.fromkeys(row["ids"] for row in document["measures"]):
        rows = [row for row in document["measures"] if (row["slice"], row["ids"]) == (part, name)]
        if rows:
            yield {"IDs": name} | {row["measure"]: _figure(row) for row in rows}


def _differences(document: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for part in dict.fromkeys(row["slice"] for row in document["differences"]):
        for name in dict.fromkeys(row["against"] for row in document["differences"]):
            rows = [row for row in document["differences"] if (row["slice"], row["against"]) == (part, name)]
            yield {"slice": part, "less": name} | {row["measure"]: _figure(row, "+") for row in rows}


def _cold_places(document: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A row for each kind of IDs, share of the places and number of shared codes."""
    rows = [row for row in document["cold_places"] if row["measure"] == "recall@10"]
    for key in dict.fromkeys((row["ids"], row["share"], row["codes"]) for row in rows):
        parts = {row["slice"]: row for row in rows if (row["ids"], row["share"], row["codes"]) == key}
        shown = dict(zip(_COLD, (key[0], f"{key[1]:.0%}", str(key[2])), strict=False))
        for name, row in parts.items():
            shown |= {name: _figure(row), f"{name}, more": _figure(row["less"], "+")}
        yield shown


def _ids(document: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for one in document["ids"]:
        yield {
            "IDs": one["ids"],
            "no item, free": _known(one["invalid_free"], "{:.1%}"),
            "no item, trie": _known(one["invalid_trie"], "{:.1%}"),
            "with suffix": _known(one["with_suffix"], "{:,}"),
            "steps": f"{one['steps']:.0f}",
            "loss": _known(one["valid_loss"], "{:.3f}"),
            "s a seed": f"{one['seconds']:.0f}",
        }


def _known(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _figure(row: Mapping[str, Any], sign: str = "") -> str:
    """A share in percent, with two decimals, and its interval."""
    value = f"{100 * row['value']:{sign}.2f}"
    if row["low"] is None:
        return value
    return f"{value} ({100 * row['low']:.2f} to {100 * row['high']:.2f})"
