"""Text in a form that a store accepts, and in one that a terminal can show."""

from __future__ import annotations


def storable(text: str) -> str:
    """Replaces lone surrogates (half an emoji, a file name that is not UTF-8), which no store accepts, by escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(text: str) -> str:
    """Foreign text as a terminal may get it: each character that is not printable (control characters with which a
    terminal is steered, bidirectional overrides, line ends) becomes U+FFFD. As long as before."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def counted(count: int, what: str) -> str:
    """`1 event`, `2 events`"""
    return f"{count} {what}{'s' * (count != 1)}"
