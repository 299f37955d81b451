"""Text that a store can hold."""

from __future__ import annotations


def storable(text: str) -> str:
    """Lone surrogates, which no store takes (half an emoji, a file name that is not UTF-8), as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
