"""How jobs report their progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives reports of work as it is done; the command line shows bars."""

    def begin(self, stage: str, total: int | None) -> None: ...

    def advance(self, stage: str, done: int) -> None: ...


class Silent:
    def begin(self, stage: str, total: int | None) -> None:
        pass

    def advance(self, stage: str, done: int) -> None:
        pass
