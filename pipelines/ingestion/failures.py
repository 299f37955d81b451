"""Failed items counted by error class, with an example of each, for the message of a run that went wrong."""

from __future__ import annotations

from collections import Counter

_MOST_CHARS = 300


class Failures:
    def __init__(self) -> None:
        self.classes: Counter[str] = Counter()
        self._examples: dict[str, tuple[str, str]] = {}

    def add(self, error_class: str, content_id: str, message: str) -> None:
        self.classes[error_class] += 1
        self._examples.setdefault(error_class, (content_id, message))

    def __add__(self, other: Failures) -> Failures:
        both = Failures()
        both.classes = self.classes + other.classes
        both._examples = other._examples | self._examples
        return both

    @property
    def count(self) -> int:
        return self.classes.total()

    def commonest(self) -> str:
        """`NotAllowed (12), such as 'a': MESSAGE`, of the most frequent class. There must be at least one failure."""
        ((error_class, times),) = self.classes.most_common(1)
        content_id, message = self._examples[error_class]
        shown = message if len(message) <= _MOST_CHARS else f"{message[:_MOST_CHARS]}..."
        return f"{error_class} ({times}), such as {content_id!r}: {shown}"
