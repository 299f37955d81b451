"""Names that are meant by one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names most like a misspelt one, in any case, the most alike first; none if none is alike."""
    by_folded = {one.casefold(): one for one in known}
    return [by_folded[one] for one in difflib.get_close_matches(name.casefold(), by_folded, most, 0.6)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean clip?)`, to be put after the name; empty if no name is like it."""
    found = nearest(name, known, 1)
    return f" (did you mean {found[0]}?)" if found else ""
