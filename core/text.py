"""Text in a form that a store accepts."""

from __future__ import annotations


def storable(text: str) -> str:
    """Replaces lone surrogates (half an emoji, a file name that is not UTF-8), which no store accepts, by escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
