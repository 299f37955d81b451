"""What is wrong with a configuration, in the words of fuseid: the key, its value, and what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fuseid.core.nearest import did_you_mean, nearest

# The largest whole number that a key takes unless it says less: what 64 bits hold.
LARGEST = 2**63 - 1
Key = tuple[str, ...]
SectionOf = Callable[[Key, Any], type[BaseModel] | None]


class Takes(str):
    """In `Annotated`: what a value of this type has to be, in words."""


def problem(error: ValidationError, root: type[BaseModel], data: Any, section_of: SectionOf) -> tuple[Key, str]:
    """(the first bad key, what is wrong with its value).

    root: the class of the whole. section_of: the class of the section at a key, for this value; None for a plain value.
    """
    first = error.errors(include_url=False)[0]
    key, section, field, value = _found(first["loc"], root, data, section_of)
    said = str(first.get("ctx", {}).get("problem", ""))
    if field is None and not said:
        return key, _unknown(key, section, root, section_of)
    if not said and first["type"] in ("value_error", "assertion_error"):
        said = str(first["msg"]).partition(", ")[2]
    if first["type"] == "missing" and field is not None:
        return key, f"is missing; it takes {_of_field(field)}"
    if not said and field is not None:
        most = f" up to {LARGEST}" if isinstance(value, int) and value > LARGEST else ""
        said = f"it takes {_of_field(field)}{most}{_meant(value, field)}"
    return key, f"is {shown(value)}; {said}"


def _found(
    location: tuple[int | str, ...], root: type[BaseModel], data: Any, section_of: SectionOf
) -> tuple[Key, type[BaseModel], FieldInfo | None, Any]:
    """-> the key at a location of pydantic, its section, its field, None if the section has no such key, its value."""
    key: Key = ()
    section, field, value = root, None, data
    named: type[BaseModel] | None = None
    for part in location:
        name = str(part)
        if named is not None:
            key, section, value, named = (*key, name), named, _at(value, name), None
            field = FieldInfo.from_annotation(section)
            if not isinstance(value, Mapping):
                break
            continue
        if field is not None and name not in section.model_fields and not isinstance(value, Mapping):
            break
        key = (*key, name)
        value = _at(value, name)
        field = section.model_fields.get(name)
        below = section_of(key, value) if field is not None else None
        named = _section_of_names(field) if isinstance(value, Mapping) else None
        if (below is None and named is None) or not isinstance(value, Mapping):
            break
        section = below or section
    return key, section, field, value


def _section_of_names(field: FieldInfo | None) -> type[BaseModel] | None:
    """The class of the sections of a mapping whose keys are names of the user's choice; None for any other field."""
    inner = get_args(field.annotation) if field is not None and get_origin(field.annotation) is dict else ()
    found = inner[1] if inner else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _at(value: Any, name: str) -> Any:
    if isinstance(value, BaseModel):
        return getattr(value, name, None)
    return {str(key): one for key, one in value.items()}.get(name) if isinstance(value, Mapping) else None


def _unknown(key: Key, section: type[BaseModel], root: type[BaseModel], section_of: SectionOf) -> str:
    *_, name = key
    where = f" of {'.'.join(key[:-1])}" if len(key) > 1 else ""
    known = sorted(section.model_fields)
    elsewhere = [one for one in _all_keys(root, (), section_of) if one[-1] == name and one != key]
    meant = did_you_mean(name, known)
    if not meant and elsewhere:
        meant = f" (did you mean {'.'.join(elsewhere[0])}?)"
    return f"is no key{meant}; known keys{where}: {', '.join(known)}"


def _all_keys(section: type[BaseModel], above: Key, section_of: SectionOf) -> list[Key]:
    found: list[Key] = []
    for name in section.model_fields:
        key = (*above, name)
        below = section_of(key, {})
        found += [key] if below is None else _all_keys(below, key, section_of)
    return found


def _meant(value: Any, field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    alike = nearest(str(value), choices, 1) if isinstance(value, str) else []
    return f" (did you mean {alike[0]}?)" if alike else ""


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(one) for one in get_args(annotation)]
    return [one for part in get_args(annotation) for one in _choices(part)]


def _of_field(field: FieldInfo) -> str:
    return takes(field.annotation, field.metadata)


def takes(annotation: Any, metadata: Any = ()) -> str:
    """What a value of an annotation may be: `a whole number from 1 to 256`."""
    words = next((str(one) for one in metadata if isinstance(one, Takes)), None)
    if words is not None:
        return words
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        own = [part for one in inner[1:] for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return takes(inner[0], (*metadata, *own))
    if origin in (Union, UnionType):
        parts = sorted(inner, key=lambda one: one is NoneType)
        return ", or ".join(takes(one, metadata if one is not NoneType else ()) for one in parts)
    if origin is Literal:
        return " or ".join(filter(None, [", ".join(map(str, inner[:-1])), str(inner[-1])]))
    if origin in (tuple, list):
        least = " of at least one" if any(isinstance(one, MinLen) and one.min_length for one in metadata) else ""
        return f"a list{least}, such as [{_example(inner[0])}], each {takes(inner[0])}"
    if origin is dict:
        return f"a section of {takes(inner[0])}, each with {takes(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a section with the keys {', '.join(annotation.model_fields)}"
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    return f"{plain.get(annotation, 'a value')}{_range(metadata)}"


def _example(annotation: Any) -> str:
    inner = get_args(annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, inner[:2]))
    base = inner[0] if get_origin(annotation) is Annotated else annotation
    return "256, 256" if base is int else "a, b"


def _range(metadata: Any) -> str:
    least = next((one.ge for one in metadata if isinstance(one, Ge)), None)
    limits: list[Any] = [one.le for one in metadata if isinstance(one, Le)]
    most = min(limits, default=None)
    above = next((one.gt for one in metadata if isinstance(one, Gt)), None)
    below = next((one.lt for one in metadata if isinstance(one, Lt)), None)
    if least is not None and most is not None and most != LARGEST:
        return f" from {_number(least)} to {_number(most)}"
    parts = [
        f" of {_number(least)} or more" if least is not None else "",
        f" above {_number(above)}" if above is not None else "",
        f" below {_number(below)}" if below is not None else "",
        f" up to {_number(most)}" if most is not None and most != LARGEST else "",
    ]
    return "".join(parts)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def shown(value: Any) -> str:
    """A value as YAML has it, of bounded length."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = type(value).__name__
    return f"{text[:57]}..." if len(text) > 60 else text
