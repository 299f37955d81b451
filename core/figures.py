"""The figures of a report that a gate can limit, by name: `churn 1`, `recall@10`, `r2 3 of kind = video`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fuseid.core.names import hint

# What the number after a name counts. These are the measures of `tokenizers.measures`, with their k.
_DEPTHS = ("prefix_collision", "prefix_pairs", "r2", "relative_l1", "cosine", "churn", "churn_prefixes")
_LEVELS = ("utilisation", "dead_codes", "perplexity", "normalised_entropy", "gini_occupied", "gini_all")
_WHOLE = (
    "collision_a", "collision_b", "collision_b_distinct", "largest_bucket", "held_out_r2", "churn_id",
    *(f"{name}@{k}" for name in ("recall", "ndcg", "lcp_ratio") for k in (10, 100)),
)  # fmt: skip
FIGURES: dict[str, Literal["depth", "level", "whole"]] = {
    **dict.fromkeys(_WHOLE, "whole"), **dict.fromkeys(_LEVELS, "level"), **dict.fromkeys(_DEPTHS, "depth")
}  # fmt: skip
# Those that slices have; `shares_id` only they have.
OF_SLICES = (
    "shares_id", "collision_a", "collision_b", "prefix_collision", "prefix_pairs", "normalised_entropy", "r2",
    "recall@10", "churn", "churn_id",
)  # fmt: skip
_FORM = re.compile(r"(\S+)(?: +([1-9][0-9]{0,2}))?(?: +of +(.+?) *= *(.+))?")


@dataclass(frozen=True)
class Figure:
    """level: of a level or a depth, counted from 1. by, value: of a slice; an attribute, `kind`, `popularity` or
    `prefix size`, and its value."""

    name: str
    level: int | None = None
    by: str | None = None
    value: str | None = None

    def __str__(self) -> str:
        level = "" if self.level is None else f" {self.level}"
        return f"{self.name}{level}" + ("" if self.by is None else f" of {self.by} = {self.value}")


def figure_named(text: str) -> Figure:
    """Raises ValueError, which says in words what is wrong, for a name that no report has."""
    parts = _FORM.fullmatch(text.strip())
    if parts is None:
        raise ValueError("a figure is named like `churn 1`, `recall@10` or `churn 1 of kind = video`")
    name, level, by, value = parts.groups()
    known = [*FIGURES] if by is None else OF_SLICES
    if name not in known:
        where = "report" if by is None else "slice"
        raise ValueError(f"no {where} has a figure {name!r}; {hint(name, known)}")
    counted = "whole" if name == "shares_id" else FIGURES[name]
    if counted == "whole" and level is not None:
        raise ValueError(f"{name} is of whole IDs: it has no {level}")
    if counted != "whole" and level is None:
        raise ValueError(f"say of which {counted}, such as `{name} 1`")
    return Figure(name, None if level is None else int(level), by, value)
