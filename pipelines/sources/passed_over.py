"""What a source passes over: files and members that it does not read, counted by their ending."""

from __future__ import annotations

import os
from collections import Counter

FOLDERS = "folders named like media"
# Names with many dots would make a kind each.
_MOST_KINDS = 40
_NAMED = 12
_LONGEST_ENDING = 16


class PassedOver:
    """`counts` by kind: an ending in lower case (`.psd`), `without an ending`, `hidden`, or what else it is."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, name: str, kind: str | None = None) -> None:
        """name: of a file, with its folders. kind: by default its ending."""
        kind = kind or _kind_of(name)
        if kind not in self.counts and len(self.counts) >= _MOST_KINDS:
            kind = "others"
        self.counts[kind] += 1
        self._examples.setdefault(kind, name)

    def __iadd__(self, other: PassedOver) -> PassedOver:
        self.counts += other.counts
        self._examples = other._examples | self._examples
        return self

    def __str__(self) -> str:
        """To end a message with; empty if nothing was passed over."""
        return f"; {self.note}" if self.counts else ""

    @property
    def note(self) -> str | None:
        """One line that names the kinds, the most frequent first; None if nothing was passed over."""
        if not self.counts:
            return None
        kinds = sorted(self.counts, key=lambda kind: (-self.counts[kind], kind))
        named = [f"{self.counts[kind]} {kind}" for kind in kinds[:_NAMED]]
        if len(kinds) > _NAMED:
            named.append(f"{sum(self.counts[kind] for kind in kinds[_NAMED:])} of {len(kinds) - _NAMED} other kinds")
        # Two dots: a tar's members of one key, such as KEY.left.jpg.
        more = "; in a tar, KEY.jpg is the medium of KEY, KEY.x.jpg is not read"
        compound = any(kind.count(".") > 1 for kind in kinds)
        return f"passed over: {', '.join(named)} ({self._examples[kinds[0]]!r} for one){more * compound}"


def passed_over_by(source: object) -> PassedOver:
    """What a source passed over in its last iteration."""
    found = getattr(source, "passed_over", None)
    return found if isinstance(found, PassedOver) else PassedOver()


def _kind_of(name: str) -> str:
    base = os.path.basename(name)
    if base.startswith("."):
        return "hidden"
    ending = os.path.splitext(base)[1].lower()
    if not 1 < len(ending) <= _LONGEST_ENDING or not ending.isprintable():
        return "without an ending"
    return ending
