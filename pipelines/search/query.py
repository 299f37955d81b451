"""A query: parts with weights, the space to search, and how many results of one prefix there may be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuseid.core.errors import BadInput
from fuseid.core.names import unknown
from fuseid.core.surface import flag, in_shell, option

# What a query may be made of; `not_like` only beside another.
PARTS = ("text", "image", "video", "vector", "like", "not_like")
# Beyond, sums of scores overflow, or lose a part.
_LEAST_WEIGHT, _LARGEST_WEIGHT = 1e-6, 1e6
_DIVERSE = re.compile(r"([1-9][0-9]{0,8})(?::([1-9][0-9]?))?")


@dataclass(frozen=True)
class Part:
    """name: of PARTS. value: words, a path, numbers or a content_id. weight: above 0."""

    name: str
    value: Any
    weight: float = 1.0

    @property
    def sign(self) -> int:
        return -1 if self.name == "not_like" else 1


@dataclass(frozen=True)
class Diverse:
    """At most so many results whose IDs begin with the same `depth` codes."""

    most: int
    depth: int = 1

    @classmethod
    def of(cls, value: Any) -> Diverse:
        """N, or the text `N` or `N:DEPTH`. Raises BadInput."""
        parts = _DIVERSE.fullmatch(str(value)) if not isinstance(value, bool) else None
        if parts is None:
            raise BadInput(
                f"{option('diverse')} takes the most results of one prefix, such as 2, or 2:3 for prefixes of three "
                f"codes; got {str(value)[:80]!r}"
            )
        return cls(int(parts[1]), int(parts[2] or 1))


def parts_of(given: Mapping[str, Any], weights: Mapping[str, Any] | None) -> tuple[Part, ...]:
    """The parts of a query, without those of weight 0. given: by name, one value or several of a kind, or None;
    `vector` is one vector. Raises BadInput for a query or a weight that cannot be used."""
    values = {name: _several(name, value) for name, value in given.items()}
    named = [name for name in PARTS if values.get(name)]
    if named in ([], ["not_like"]):
        kinds = [option(name) for name in (*PARTS[:-1], "sid") if not (name == "vector" and in_shell())]
        but = f"; got {option('not_like')} alone" if named else ""
        raise BadInput(f"a look-up takes at least one of {', '.join(kinds)}{but}")
    factors = _weights(weights or {}, named)
    parts = tuple(
        Part(name, value, factors.get(name, 1.0))
        for name in named
        for value in values[name]
        if factors.get(name, 1.0) > 0
    )
    if not any(part.sign > 0 for part in parts):
        more = option("weight" if in_shell() else "weights")
        raise BadInput(f"the weight of every part of the query is 0; give one of them more by {more}")
    return parts


def _several(name: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if name == "vector" or isinstance(value, str | Path):
        return [value]
    try:
        return list(value)
    except TypeError:
        raise BadInput(f"{option(name)} takes one value or several, got {str(value)[:80]!r}") from None


def _weights(weights: Mapping[str, Any], named: list[str]) -> dict[str, float]:
    found = {}
    for key, value in weights.items():
        name = str(key).replace("-", "_")
        if name not in PARTS:
            raise unknown("part of a query", str(key), (_shown(each) for each in PARTS))
        if name not in named:
            raise BadInput(f"a weight for {_shown(name)}, which the query does not have; give {option(name)} too")
        try:
            found[name] = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            found[name] = math.nan
        if found[name] != 0 and not _LEAST_WEIGHT <= found[name] <= _LARGEST_WEIGHT:
            raise BadInput(
                f"the weight of {_shown(name)} must be a number of at least 0, and {_LEAST_WEIGHT:g} to "
                f"{_LARGEST_WEIGHT:,g} if it is not 0, got {str(value)[:80]!r}; {option('not_like')} looks for what is "
                "unlike an item"
            )
    return found


def _shown(name: str) -> str:
    return flag(name).lstrip("-") if in_shell() else name
