"""Whether a table has what a filter names: columns before a search, attributes where it finds nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

import lance

from fuseid.core.errors import BadInput
from fuseid.core.names import hint
from fuseid.core.nearest import nearest
from fuseid.core.surface import in_shell, option
from fuseid.pipelines.search import json_sql
from fuseid.pipelines.search.filters import ATTRIBUTE, HAS, Attribute, Filter, Has, Present
from fuseid.pipelines.search.json_sql import NUMBER
from fuseid.pipelines.store.conditions import attribute_names

_PLURAL = {"text": "text", "number": "numbers", "boolean": "booleans"}


def check_columns(contents: lance.LanceDataset, filter_: Filter) -> None:
    """Raises BadInput, which proposes the nearest names, for something that items may not have."""
    for part in filter_.parts():
        if isinstance(part, Has):
            known = [*HAS, *(name for name in contents.schema.names if name not in HAS)]
            if part.name not in known:
                near = hint_among(contents, part.name, known)
                raise BadInput(f"items of {_place(contents)} have no {part.name!r}; {near}")


def hint_among(contents: lance.LanceDataset, name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: which it may have meant of the known ones, and of attributes, which
    are written as `attr:NAME`."""
    attributes = attribute_names(contents)
    if not nearest(name, known) and (near := nearest(name, attributes)):
        return f"did you mean {' or '.join(ATTRIBUTE + each for each in near)}?"
    return hint(name, [*known, *(ATTRIBUTE + each for each in attributes)])


def check_attributes(contents: lance.LanceDataset, filter_: Filter) -> None:
    """To be called where no item fulfils a filter. Raises BadInput for an attribute that no item has, and for a value
    of a type that this attribute has in no item."""
    for part in filter_.parts():
        if isinstance(part, Present | Attribute):
            check_attribute(contents, part.name)
        if isinstance(part, Attribute):
            _check_type(contents, part)


def check_attribute(contents: lance.LanceDataset, name: str) -> None:
    """Raises BadInput, which proposes the nearest ones, for an attribute that no item has."""
    if not _any(contents, json_sql.known(name)):
        near = hint(name, attribute_names(contents, nested="." in name))
        raise BadInput(f"no item of {_place(contents)} has an attribute {name!r}; {near}")


def _check_type(contents: lance.LanceDataset, part: Attribute) -> None:
    wanted = json_sql.type_of(part.value)
    if _any(contents, json_sql.of_type(part.name, wanted)):
        return
    others = [kind for kind in json_sql.TYPES if kind != wanted and _any(contents, json_sql.of_type(part.name, kind))]
    if not others:
        raise BadInput(
            f"attribute {part.name!r} has no values that can be compared; ask whether it is there: {_there(part)}"
        )
    remedy = ""
    if "text" in others:
        text = json.dumps(str(part.value) if wanted == "number" else str(part.value).lower())
        remedy = f"; text is in double quotes: {_asked(part, text)}"
    elif "number" in others and NUMBER.fullmatch(str(part.value)):
        remedy = f"; numbers are without quotes: {_asked(part, str(part.value))}"
    held = " and ".join(_PLURAL[kind] for kind in others)
    raise BadInput(f"attribute {part.name!r} has {held}, not {_PLURAL[wanted]}{remedy}")


def _asked(part: Attribute, value: str) -> str:
    if in_shell():
        return option("attr", f"{part.name}{part.operator}{value}")
    return f"Filter.attr({part.name!r}, {part.operator!r}, {value})"


def _there(part: Attribute) -> str:
    return option("has", f"{ATTRIBUTE}{part.name}") if in_shell() else f"Filter.attr({part.name!r})"


def _any(contents: lance.LanceDataset, condition: str) -> bool:
    return contents.scanner(columns=["content_id"], filter=condition, limit=1).to_table().num_rows > 0


def _place(contents: lance.LanceDataset) -> str:
    return str(contents.uri).rpartition("/")[0]
