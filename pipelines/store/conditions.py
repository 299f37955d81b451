"""SQL conditions that people write: whether they are whole, and why one finds nothing: it names a kind that there is
not, or an attribute that no item has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import lance

from fuseid.core.errors import BadInput
from fuseid.core.names import hint, unknown
from fuseid.core.records import KINDS
from fuseid.core.surface import option
from fuseid.pipelines.store.rows import sql_string

_TEXT = r"'((?:[^']|'')*)'"
_KIND = re.compile(rf"\bkind\s*(?:=|==|<>|!=)\s*{_TEXT}|{_TEXT}\s*(?:=|==|<>|!=)\s*kind\b", re.IGNORECASE)
_KINDS = re.compile(rf"\bkind\s+(?:NOT\s+)?IN\s*\(((?:\s*{_TEXT}\s*,?)+)\)", re.IGNORECASE)
_ATTRIBUTE = re.compile(rf"\b(json_\w+)\s*\(\s*attributes\s*,\s*{_TEXT}", re.IGNORECASE)
# The first key of `$.style.name`, `$."style name"`, `$['style']` and `$.style ? (@ == 1)`; none of `$.*`.
_KEY = re.compile(r"""\s*\$\s*(?:\.\s*"((?:[^"\\]|\\.)+)"|\.\s*([\w-]+)|\[\s*["']((?:[^"'\\]|\\.)+)["']\s*\])""")
# What Lance says of a condition that it has read, if a column is not there.
_NO_COLUMN, _NOT_THERE = "column_that_is_not_there", "Schema error"
# As many items are asked for their attributes when the nearest one is looked for.
_ROWS = 10_000


def check_whole(contents: lance.LanceDataset, where: str) -> None:
    """Raises BadInput for a condition with something behind its end: `kind = 'image' adn caption IS NULL`. Lance reads
    one expression and ignores the rest without a word. Other mistakes are for Lance to refuse."""
    # Within CAST an expression has to be followed by AS; a comment may end it.
    problem = _problem(contents, f"CAST({where}\n AS BOOLEAN) AND {_NO_COLUMN}")
    if _NOT_THERE not in problem and _NOT_THERE in _problem(contents, f"{_NO_COLUMN} AND {where}"):
        found = re.search(r"Expected: AS, found: (.+?)\)(?:,|$)", problem)
        raise BadInput(
            f"{option('where', where)} has more behind its end, from {found[1] if found else ')'!r} on, which would be "
            "ignored; conditions are joined by AND or OR"
        )


def _problem(contents: lance.LanceDataset, condition: str) -> str:
    """Lance's words about a condition with a column that is not there: nothing is read, and nothing computed, which
    takes as long as somebody wishes."""
    try:
        contents.scanner(columns=[], filter=condition, limit=1, with_row_id=True).explain_plan()
    except (OSError, RuntimeError, ValueError) as error:
        return str(error)
    return ""


def check_names(contents: lance.LanceDataset, where: str) -> None:
    """To be called where no item fulfils a condition. Raises BadInput, which proposes the nearest names, for a kind
    that there is not and for a key that no item's attributes have."""
    kinds = [match[1] or match[2] for match in _KIND.finditer(where)]
    for several in _KINDS.finditer(where):
        kinds += re.findall(_TEXT, several[1])
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    for match in _ATTRIBUTE.finditer(where):
        key = _first_key(match[1].lower(), match[2].replace("''", "'"))
        if key is None:
            continue
        path = f"$.{json.dumps(key, ensure_ascii=False)}"
        if not contents.count_rows(f"json_exists(attributes, {sql_string(path)})"):
            place = contents.uri.rpartition("/")[0]
            raise BadInput(f"no item of {place} has an attribute {key!r}; {hint(key, attribute_names(contents))}")


def attribute_names(contents: lance.LanceDataset, nested: bool = False) -> list[str]:
    """The attributes of the first items. nested: also those within objects, as `maker.country`."""
    texts = contents.to_table(columns=["attributes"], limit=_ROWS)["attributes"].to_pylist()
    return sorted({name for text in texts for name in _names(json.loads(text or "{}"), nested)})


def _names(attributes: Any, nested: bool) -> Iterator[str]:
    for each in attributes if isinstance(attributes, list) else [attributes]:
        for name, value in each.items() if isinstance(each, dict) else ():
            yield name
            if nested:
                yield from (f"{name}.{inner}" for inner in _names(value, nested))


def _first_key(function: str, text: str) -> str | None:
    """The attribute that a call names: `json_get` and its kin take a key, the others a path."""
    if function.startswith("json_get"):
        return text
    found = _KEY.match(text)
    return None if found is None else next(name for name in found.groups() if name is not None)
