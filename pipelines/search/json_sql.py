"""SQL conditions on the column `attributes`: the one place where keys and values of JSON are quoted.

Lance reads JSON paths with the parser of the `jsonb` crate. It takes no number with a fraction unless that begins with
the point, and no empty text, so both are written in other words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal

from fuseid.core.text import storable
from fuseid.pipelines.store.rows import sql_string

Value = str | bool | int | float

# How JSON writes numbers: 007 is text.
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_OPERATORS = {"=": "==", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
# Integers that the store keeps as such; it keeps others as text.
_LEAST, _MOST = -(2**63), 2**64 - 1
# The smallest text but one: only the empty text is before it.
_AFTER_EMPTY = '"\\u0000"'
_META = frozenset("\\.+*?()|[]{}^$")
_UNIT = r'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])'
# Enters lists, and lists within these, so that their elements are compared one by one: Lance compares a whole list only
# up to its first element of another type. A value that is no list stays what it is.
_ELEMENTS = "[*][*][*]"
# The test that a value is of a type.
TYPES = {
    "text": f"@ >= {_AFTER_EMPTY} || @ < {_AFTER_EMPTY}",
    "number": "@ >= 0 || @ < 0",
    "boolean": "@ == true || @ == false",
}


def type_of(value: Value) -> str:
    """A key of TYPES."""
    return "boolean" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def compared(name: str, operator: str, value: Value) -> str:
    """The condition that a value of an attribute is of the same type and in this relation to `value`, or that a list
    has such an element. operator: = < <= > >=."""
    test = _test(_OPERATORS[operator], value)
    return "false" if test is None else _at(name, lambda path: _exists(f"{path}{_ELEMENTS} ? ({test})"))


def of_type(name: str, kind: str) -> str:
    """The condition that an attribute is of a type of TYPES, or a list with such an element."""
    return _at(name, lambda path: _exists(f"{path}{_ELEMENTS} ? ({TYPES[kind]})"))


def known(name: str) -> str:
    """The condition that there is an attribute, also null."""
    return _at(name, _exists)


def present(name: str) -> str:
    """The condition that there is an attribute other than null and the empty list."""
    return f"({extracted(name)} NOT IN ('null', '[]')) IS TRUE"


def contains(name: str, text: str) -> str:
    """The condition that a text of an attribute, also one within arrays and objects, contains another, in any case."""
    literal = "".join(f"\\{c}" if c in _META else c for c in _json(text)[1:-1])
    # JSON text up to the beginning of a string; a part of this string; the end of one that is no key.
    found = f'^(?:[^"]*"{_UNIT}*")*?[^"]*"{_UNIT}*?(?i:{literal}){_UNIT}*"(?:[^:]|$)'
    return f"regexp_like({extracted(name)}, {sql_string(found)}) IS TRUE"


def extracted(name: str) -> str:
    """The SQL expression of an attribute as JSON text, null if it is not there; an array if a path leads to several."""
    found = [f"json_extract(attributes, {sql_string(path)})" for path in paths(name)]
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def paths(name: str) -> list[str]:
    """Where an attribute is: at the key of this name; where there is no such key and the name has points, at the end of
    the path, which also enters the elements of arrays."""
    keys = name.split(".")
    found = [f"$.{_json(name)}"]
    if len(keys) > 1 and all(keys):
        found.append("$" + "[*]".join(f".{_json(key)}" for key in keys))
    return found


def _at(name: str, condition: Callable[[str], str]) -> str:
    """Two-valued, so that its negation is the rest of the items."""
    first, *rest = paths(name)
    if not rest:
        return f"{condition(first)} IS TRUE"
    return f"({condition(first)} OR (NOT {_exists(first)} AND {condition(rest[0])})) IS TRUE"


def _exists(path: str) -> str:
    return f"json_exists(attributes, {sql_string(path)})"


def _json(text: str) -> str:
    return json.dumps(storable(text), ensure_ascii=False)


def _test(operator: str, value: Value) -> str | None:
    """A condition of a path; None if no value fulfils it."""
    if value == "" and isinstance(value, str):
        empty = f"@ < {_AFTER_EMPTY}"
        tests: dict[str, str | None] = {"<": None, ">": f"@ >= {_AFTER_EMPTY}", ">=": TYPES["text"]}
        return tests.get(operator, empty)
    return f"@ {operator} {_literal(value)}"


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return _json(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and _LEAST <= value <= _MOST:
        return str(value)
    sign, digits, exponent = Decimal(repr(float(value))).as_tuple()
    return f"{'-' * sign}.{''.join(map(str, digits))}e{int(exponent) + len(digits)}"
