"""What stands out in a report, as sentences: a few rules with thresholds, which docs/quality.md explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fuseid.core.surface import command
from fuseid.tokenizers.measures import definition

# The use of a level's codes is judged only with at least so many items per code.
ITEMS_PER_CODE = 10
COLLAPSED_BELOW = 0.5
UNEVEN_BELOW = 0.85
COLLISIONS_ABOVE = 0.2
BIG_ID_ITEMS, BIG_ID_SHARE = 20, 0.005
COARSE_BELOW = 0.3
IDLE_LEVEL_BELOW = 0.02
STALE_BY = 0.05
SLICE_SHARES_TIMES = 1.5

# The measures of a comparison, and at which level: "first", "last", or all.
_COMPARED = {
    "collision_a": "last", "collision_b": "last", "collision_b_distinct": "last", "largest_bucket": "last",
    "prefix_pairs": "first", "utilisation": "every", "normalised_entropy": "every", "r2": "last",
    "held_out_r2": "last", "cosine": "last",
    "recall@10": "last", "recall@100": "last", "ndcg@10": "last", "ndcg@100": "last", "lcp_ratio@10": "last",
}  # fmt: skip


def measure(measures: Sequence[Mapping[str, Any]], name: str, level: int | None = None) -> Mapping[str, Any] | None:
    """The measure of that name and level, where level 0 means the last one; None if it was not measured."""
    found = [one for one in measures if one["name"] == name]
    if level == 0:
        return found[-1] if found else None
    return next((one for one in found if one["level"] == level), None)


def findings(column: Mapping[str, Any], uri: str | Path) -> list[dict[str, str]]:
    """What stands out in one tokenizer's part of a report: {"rule", "weight": "warning" or "note", "text"} each,
    warnings first. uri: the database."""
    found = [*_code_use(column), *_collisions(column, uri), *_fidelity(column), *_neighbours(column), *_slices(column)]
    found += [*_drift(column), *_items(column)]
    rows = [{"rule": rule, "weight": weight, "text": text} for rule, weight, text in found]
    return sorted(rows, key=lambda row: row["weight"] != "warning")


def comparison(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The main measures of two tokenizers side by side; `better` is the id of the better tokenizer, None if the
    intervals overlap or there are none."""
    rows = []
    for name, which in _COMPARED.items():
        for level in _levels(first, second, name, which):
            one, other = measure(first["measures"], name, level), measure(second["measures"], name, level)
            if one and other:
                rows.append(
                    {"name": name, "first": one, "second": other, "better": _better(name, first, one, second, other)}
                )
    return rows


def _levels(first: Mapping[str, Any], second: Mapping[str, Any], name: str, which: str) -> list[int | None]:
    if which == "last":
        return [0]
    levels = {one["level"] for column in (first, second) for one in column["measures"] if one["name"] == name}
    return sorted(levels)[:1] if which == "first" else sorted(levels)


def _better(
    name: str, first: Mapping[str, Any], one: Mapping[str, Any], second: Mapping[str, Any], other: Mapping[str, Any]
) -> str | None:
    ends = (one["low"], one["high"], other["low"], other["high"])
    if None in ends or (one["low"] <= other["high"] and other["low"] <= one["high"]):
        return None
    lower = one["high"] < other["low"]
    return first["id"] if lower == (definition(name).better == "low") else second["id"]


_Found = Iterator[tuple[str, str, str]]


def _code_use(column: Mapping[str, Any]) -> _Found:
    balanced = column["config"].get("balanced")
    remedy = "fit with smaller tokenizer.codebook_sizes" if balanced else "fit with tokenizer.balanced: true"
    sizes = list(enumerate(column["codebook_sizes"], 1))
    few = [number for number, size in sizes if column["items"] < ITEMS_PER_CODE * size]
    if few:
        where = f"level {few[0]}" if len(few) == 1 else f"levels {', '.join(map(str, few))}"
        yield "few items", "note", f"{column['items']:,} items are few for the codes of {where}: their use says little"
    for number, size in sizes:
        if number in few:
            continue
        use = measure(column["measures"], "utilisation", number)
        entropy = measure(column["measures"], "normalised_entropy", number)
        if use and use["value"] < COLLAPSED_BELOW:
            used = round(use["value"] * size)
            yield "collapsed", "warning", f"level {number} uses {used} of {size} codes: collapsed; {remedy}"
        elif entropy and entropy["value"] < UNEVEN_BELOW:
            as_good = round(size ** entropy["value"])
            text = f"level {number} uses its {size} codes unevenly, as good as {as_good} even ones; {remedy}"
            yield "uneven", "warning", text


def _collisions(column: Mapping[str, Any], uri: str | Path) -> _Found:
    shared = measure(column["measures"], "collision_b")
    distinct = measure(column["measures"], "collision_b_distinct")
    if shared and shared["value"] > COLLISIONS_ABOVE:
        copies = distinct is not None and distinct["value"] < shared["value"] / 2
        text = f"{_percent(shared['value'])} of the items share their ID with another"
        if copies:
            yield "copies", "note", f"{text}, mostly copies, whose vectors are equal: no tokenizer can tell them apart"
        else:
            yield "collisions", "warning", f"{text}; add a level, or fit with larger tokenizer.codebook_sizes"
    top = column["largest_ids"][0] if column["largest_ids"] else None
    if top and top["items"] > max(BIG_ID_ITEMS, BIG_ID_SHARE * column["items"]):
        what = "copies of one vector" if top["vectors"] == 1 else f"{top['vectors']:,} different vectors"
        text = (
            f"{top['items']:,} items have the codes {top['codes']}, {what}: {command('lookup', uri, sid=top['codes'])}"
        )
        yield "big ID", "note", text


def _fidelity(column: Mapping[str, Any]) -> _Found:
    r2 = [one for one in column["measures"] if one["name"] == "r2"]
    if not r2:
        return
    whole = r2[-1]["value"]
    if whole < COARSE_BELOW:
        yield "coarse", "warning", f"the codes keep {_percent(whole)} of the vectors' variance; add a level or codes"
    for before, one in pairwise(r2):
        gain = one["value"] - before["value"]
        if gain < IDLE_LEVEL_BELOW:
            yield "idle level", "note", f"level {one['level']} adds {gain:.3f} to R²: it tells little apart"
    fitted = column["fit"].get("r2_per_level")
    if fitted and whole < fitted[-1] - STALE_BY:
        text = (
            f"R² is {whole:.2f} on the catalogue of now, was {fitted[-1]:.2f} on the items it was fitted on: "
            "the catalogue has moved, or the fit learned its sample by heart; fit a candidate and compare"
        )
        yield "stale", "warning", text


def _neighbours(column: Mapping[str, Any]) -> _Found:
    recall = measure(column["measures"], "recall@10")
    if recall and None not in (recall["low"], recall["null_high"]) and recall["low"] <= recall["null_high"]:
        text = (
            f"the 10 nearest by ID are hardly nearer than any: recall@10 {recall['value']:.2f}, "
            f"by chance {recall['null']:.2f}"
        )
        yield "neighbours", "warning", text


def _slices(column: Mapping[str, Any]) -> _Found:
    recall = measure(column["measures"], "recall@10")
    shared = measure(column["measures"], "collision_b")
    for part in column["slices"]:
        if part["small"]:
            continue
        here = measure(part["measures"], "recall@10")
        if recall and here and None not in (recall["low"], here["high"]) and here["high"] < recall["low"]:
            text = (
                f"{slice_title(part)}: neighbours are found worse by ID than in the whole, "
                f"recall@10 {here['value']:.2f} beside {recall['value']:.2f}"
            )
            yield "slice neighbours", "note", text
        here = measure(part["measures"], "shares_id")
        often = shared and here and here["value"] > SLICE_SHARES_TIMES * shared["value"]
        if often and here and shared and None not in (here["low"], shared["high"]) and here["low"] > shared["high"]:
            text = (
                f"{slice_title(part)}: {_percent(here['value'])} of the items share their ID, "
                f"{_percent(shared['value'])} of all"
            )
            yield "slice collisions", "note", text


def _drift(column: Mapping[str, Any]) -> _Found:
    judged = [run for run in column["drift"] if run["figures"]]
    if judged and judged[-1]["reasons"]:
        reasons = "; ".join(judged[-1]["reasons"])
        yield (
            "drift",
            "warning",
            f"of the last {judged[-1]['figures']['items']:,} new items: {reasons}; fit a candidate",
        )


def _items(column: Mapping[str, Any]) -> _Found:
    if column["without_id"]:
        yield "without ID", "note", f"{column['without_id']:,} items have no ID under this tokenizer"
    if column["edited"]:
        text = f"{column['edited']:,} items were edited since and keep the ID of what they were"
        yield "edited", "note", text


def slice_title(part: Mapping[str, Any]) -> str:
    """A slice in words: `style = photo`, `popularity: head`, `style: others`."""
    by = part["by"].removeprefix("attributes.")
    if part["rest"]:
        return f"{by}: {part['rest']}"
    return part["value"] if by == "kind" else f"{by}: {part['value']}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"
