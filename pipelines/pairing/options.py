"""How pairs are made from histories: the method, and the options that it has."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from fuseid.core.errors import BadInput
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.sequences.clock import instant, shown

WINDOW, SWING, COOCCURRENCE = METHODS = ("window", "swing", "cooccurrence")
# The options that only some methods have, and their values where none is given.
DEFAULTS: dict[str, dict[str, Any]] = {
    WINDOW: {"window": 5, "session": None, "by_distance": False, "popularity": 0.5},
    SWING: {"alpha": 1.0, "most_users": 500},
    COOCCURRENCE: {"window": 5, "session": None, "by_distance": False, "smoothing": 0.75},
}
# At most this many events of a history, pairs of an item, and users of an item in swing.
_MOST_HISTORY = 10_000
_MOST_PAIRS = 1000
_MOST_USERS = 2000


@dataclass(frozen=True)
class Options:
    """What all methods have, then what some have; None stands for the method's own value.

    until: microseconds since 1970; events at or after it are not used. leave_out: so many of the newest events of every
    user are not used, for a test that leaves them out. max_history: newest events of a user that are used. most: pairs
    that are kept for each item, those of the largest weight; a pair is kept if one of its items keeps it. least: users
    that a pair has at least.

    window: how many events apart at most. session: minutes without an event that end a session; a pair is within one;
    None for a single session. by_distance: a user adds 1 / distance to a pair in place of 1. popularity: weight =
    count / (users of one * users of the other) ** popularity; 0.5 is the cosine. smoothing: of the counts of contexts
    (Levy et al. 2015, sec. 3.2). alpha: of swing (Yang et al. 2020). most_users: of an item in swing, those
    with the lowest hashes.
    """

    method: str
    until: int | None = None
    leave_out: int = 0
    max_history: int = 500
    most: int = 50
    least: int = 2
    window: int | None = None
    session: float | None = None
    by_distance: bool | None = None
    popularity: float | None = None
    smoothing: float | None = None
    alpha: float | None = None
    most_users: int | None = None

    def __post_init__(self) -> None:
        check_known("method", self.method, METHODS)
        own = DEFAULTS[self.method]
        for name in sorted({name for each in DEFAULTS.values() for name in each}):
            if name not in own and getattr(self, name) is not None:
                having = " and ".join(method for method in METHODS if name in DEFAULTS[method])
                raise BadInput(f"{option(name)} belongs to {having}, not to {self.method}")
            if name in own and getattr(self, name) is None:
                object.__setattr__(self, name, own[name])
        self._check("leave_out", 0, _MOST_HISTORY)
        self._check("max_history", 2, _MOST_HISTORY)
        self._check("most", 1, _MOST_PAIRS)
        self._check("least", 1, 1 << 30)
        self._check("window", 1, self.max_history)
        self._check("session", 0, math.inf)
        self._check("popularity", 0, 1)
        self._check("smoothing", 0, 1)
        self._check("alpha", 0, math.inf)
        self._check("most_users", 2, _MOST_USERS)

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None:
            return
        # NaN is in no range.
        if not low <= value <= high or math.isinf(value) or (name == "session" and not value):
            span = f"above {low}" if name == "session" else f"{low} or more" if high == math.inf else f"{low} to {high}"
            raise BadInput(f"{option(name)} is {span}, got {value}")

    def facts(self) -> dict[str, Any]:
        """The options of the method by name, `until` as text."""
        own = {"method", "until", "leave_out", "max_history", "most", "least", *DEFAULTS[self.method]}
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name in own}
        return values | {"until": None if self.until is None else shown(self.until)}


def parse_until(text: str, zone: str | None) -> int:
    """A time stamp -> microseconds since 1970. zone: of one without a zone. Raises BadInput for anything else."""
    when = instant(text.strip(), zone)
    if when is None:
        raise BadInput(f"{option('until')} takes a time stamp like 2024-05-01T00:00Z, got {text!r}")
    return when
