"""What is in a file of pairs, as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fuseid.apps.show import print_facts, print_rows

_CAPTION = 40


def print_pairs(document: Mapping[str, Any]) -> None:
    counts = document["counts"]
    own = {"method", "until"}
    options = ", ".join(
        f"{name} {value}"
        for name, value in document["options"].items()
        if name not in own and value not in (None, False)
    )
    dropped = ("later", "unknown_item", "duplicate", "left_out")
    facts = {
        "method": f"{document['method']}: {options}",
        "until": document["until"],
        "events": f"{counts['used']:,} of {counts['events']:,}, {document['first_event']} to {document['last_event']}",
        "not used": ", ".join(f"{name} {counts[name]:,}" for name in dropped if counts[name]) or None,
        "users": f"{counts['users']:,}",
        "items": f"{counts['items']:,}, {counts['items_in_pairs']:,} of them in a pair",
        "pairs": f"{counts['pairs']:,}",
        "fingerprint": document["fingerprint"],
    }
    print_facts({name: value for name, value in facts.items() if value is not None}, f"written to {document['out']}")
    rows = [
        {
            "items": f"{row['items']:,} {row['part']}",
            "events": f"{100 * row['events']:.1f}%",
            "in a pair": _percent(row["covered"]),
            "pairs of an item": "" if row["pairs_of_item"] is None else f"{row['pairs_of_item']:.1f}",
        }
        for row in document["coverage"]
    ]
    print_rows(rows, ("items", "events", "in a pair", "pairs of an item"), title="coverage, by number of events")
    examples = [
        {
            "part": example["part"],
            "item": _named(example),
            "pairs": "; ".join(f"{_named(partner)} {partner['weight']:.3g}" for partner in example["partners"]),
        }
        for example in document["examples"]
    ]
    if examples:
        print_rows(examples, ("part", "item", "pairs"), title="examples")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"


def _named(item: Mapping[str, Any]) -> str:
    caption = item.get("caption")
    return str(item["content_id"]) if not caption else f"{item['content_id']} ({caption[:_CAPTION]})"
