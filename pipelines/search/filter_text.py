"""Filters as they are typed in a shell: `views>=1000`, `style=noto`, `sku="12"`, `listed=2026-01-31`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.search.filters import Filter
from fuseid.pipelines.search.json_sql import NUMBER, Value

_OPERATOR = re.compile(r"!=|<>|<=|>=|==|=|<|>|~")
_SAME = {"==": "=", "<>": "!="}
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_FORM = "the form is NAME=VALUE, with = != < <= > >= or ~, as in style=noto or 'views>=1000'"


def typed(
    kinds: Sequence[str] = (),
    tags: Sequence[str] = (),
    attributes: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    has: Sequence[str] = (),
) -> Filter | None:
    """What all options together ask for; None without options. Raises BadInput for one that cannot be used."""
    filters = [Filter.kind(*kinds)] if kinds else []
    filters += [Filter.tag(tag) for tag in tags]
    filters += [attribute(text) for text in attributes]
    if since is not None:
        filters.append(Filter.since(*_dated(since)))
    if until is not None:
        filters.append(Filter.until(*_dated(until)))
    filters += [Filter.has(name) for name in has]
    return Filter.every(filters) if filters else None


def attribute(text: str) -> Filter:
    """A filter on an attribute from NAME, `NAME OPERATOR VALUE`; a name or a value in double quotes is text of JSON."""
    name, rest = _name(text)
    if not rest:
        return Filter.attr(name)
    found = _OPERATOR.match(rest)
    if not name or found is None:
        raise BadInput(f"{option('attr')} cannot be {text!r}; {_FORM}")
    operator = _SAME.get(found[0], found[0])
    return Filter.attr(name, operator, _value(text, rest[found.end() :].strip(), is_text=operator == "~"))


def _name(text: str) -> tuple[str, str]:
    text = text.strip()
    if text.startswith('"'):
        try:
            name, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            raise BadInput(f"{option('attr')} cannot be {text!r}: a double quote is not closed") from None
        return name, text[end:].strip()
    found = _OPERATOR.search(text)
    end = found.start() if found else len(text)
    return text[:end].strip(), text[end:]


def _value(text: str, value: str, is_text: bool) -> Value:
    """A number, a boolean, or text; all is text that is in double quotes, and what comes after ~."""
    if not value:
        raise BadInput(f'{option("attr")} {text!r} has no value; the text without characters is ""')
    if value.startswith('"'):
        try:
            found = json.loads(value)
        except ValueError:
            found = None
        if not isinstance(found, str):
            raise BadInput(f"{option('attr')} cannot be {text!r}: the text after the double quote is not JSON")
        return found
    if value[0] in "=<>~!" or (value[0] == value[-1] == "'" and len(value) > 1):
        quoted = json.dumps(value.strip("'"), ensure_ascii=False)
        raise BadInput(f"{option('attr')} cannot be {text!r}; text with such characters is in double quotes: {quoted}")
    if is_text:
        return value
    if value in ("true", "false"):
        return value == "true"
    if value == "null":
        raise BadInput(f'{option("attr")} {text!r}: null is no value; the text is "null"')
    if NUMBER.fullmatch(value):
        return int(value) if _INTEGER.fullmatch(value) else float(value)
    return value


def _dated(text: str) -> tuple[str, str | None]:
    """[NAME=]DATE -> the date, and the attribute that has it."""
    name, equal, when = text.rpartition("=")
    return when.strip(), name.strip() if equal else None
