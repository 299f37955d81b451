"""Which kind of index a column of vectors gets, by its rows and its dimension (docs/decisions/0021-index-recall.md has
the measurements)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fuseid.core.config import LookupConfig

# Share of the 10 nearest items that look-ups are to find, unless the configuration says otherwise.
RECALL = LookupConfig().recall
# With fewer rows a scan takes milliseconds, and an index would only lower the recall.
VECTOR_ROWS = 50_000
# Vectors of so few numbers are as short as their codes and what belongs to them, and are compared themselves.
_SHORT = 32
# Rows in a partition, on average; with so many times more, the index is made again.
_PARTITION_ROWS, _TIMES = 4096, 8


@dataclass(frozen=True)
class Kind:
    """name: Lance's. options: of its `create_index`. compared: how many candidates for each result are tried when it is
    measured, see `Effort`."""

    name: str
    partitions: int
    compared: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def kind_for(rows: int, dim: int) -> Kind:
    """The kind that measures best."""
    if dim <= _SHORT:
        return Kind("IVF_FLAT", max(1, round(math.sqrt(rows))), (0,))
    return Kind("IVF_SQ", max(1, round(rows / _PARTITION_ROWS)), (1, 3, 10))


def compared_by(index_type: str) -> tuple[int, ...]:
    """As `Kind.compared`, of an index that is there, also of a kind that is not chosen any more."""
    return {"IVF_FLAT": (0,), "IVF_SQ": (1, 3, 10)}.get(index_type.upper(), (5, 10, 20, 50))


def outgrown(rows: int, dim: int, partitions: int) -> bool:
    """Whether an index has far fewer partitions than one that is made now would have."""
    return kind_for(rows, dim).partitions > _TIMES * partitions
