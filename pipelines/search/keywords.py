"""The keywords of a search as Python, numpy and Arrow have them: each has a value of its type before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from fuseid.core.errors import BadInput
from fuseid.core.names import unknown

P = ParamSpec("P")
T = TypeVar("T")

_SEVERAL = "input should be a list"


def typed_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """The function, which raises BadInput for an argument of another type than its annotation says. Numbers and texts
    of numpy and Arrow, and their arrays of texts, are arguments like those of Python."""
    signature = inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if name != "self":
                bound.arguments[name] = value_of(function, name, value)
        return function(*bound.args, **bound.kwargs)

    return checked


def check_names(function: Callable[..., Any], keywords: Any, but: tuple[str, ...] = ()) -> None:
    """Raises BadInput for keywords that a function does not take, or that are named in `but`."""
    if not isinstance(keywords, Mapping):
        raise BadInput(f'a query is keywords such as {{"text": "a red apple"}}, got {str(keywords)[:80]!r}')
    known = [name for name in inspect.signature(function).parameters if name not in ("self", *but)]
    for name in keywords:
        if name not in known:
            raise unknown("key of a query", str(name), known)


def value_of(function: Callable[..., Any], name: str, value: Any) -> Any:
    """The value of an argument, by Python's own types. Raises BadInput for one of another type."""
    value = plain(value)
    try:
        _form(getattr(function, "__func__", function))[name].validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        what = _SEVERAL if first["type"] in ("sequence_str", "is_instance_of") else first["msg"]
        raise BadInput(f"{name}: {what[:1].lower()}{what[1:]}, got {str(value)[:80]!r}") from None
    return value


def plain(value: Any) -> Any:
    """A value of numpy, Arrow or pandas as one of Python; arrays of numbers stay what they are."""
    if isinstance(value, str | bytes | int | float):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in "UOT" else value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    # Scalars of numpy and Arrow; arrays and columns of Arrow, pandas; sets and iterators.
    for name in ("as_py", "to_pylist", "to_list", "item"):
        if not isinstance(value, type) and (convert := getattr(value, name, None)) is not None:
            return convert()
    return [plain(each) for each in value] if isinstance(value, Iterable) else value


@cache
def _form(function: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    """What the value of each keyword is, by its annotation."""
    types = get_type_hints(function)
    config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return {name: TypeAdapter(types[name], config=config) for name in names}
