"""Captions made comparable: one Unicode form, no control characters, white space folded."""

from __future__ import annotations

import re
import unicodedata

from fuseid.core.errors import TooLarge

_WHITE_SPACE = re.compile(r"\s+")

# Control, lone surrogates (not encodable as UTF-8), private and unassigned: none carries meaning for an encoder.
# Cf is kept but for the byte-order mark and the bidirectional overrides: joiners build emoji and Indic letters.
_DROPPED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn"})
_DROPPED_FORMATS = frozenset("\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def normalise_caption(text: str | None, max_chars: int) -> str | None:
    """NFC, control characters removed, white space folded to single spaces; nothing left is None.

    Idempotent. Raises TooLarge where `text` has more than `max_chars` characters as given: the limit
    guards the work done here, so it is checked before any of it.
    """
    if text is None:
        return None
    if len(text) > max_chars:
        raise TooLarge(f"caption has {len(text)} characters, the limit decode.max_caption_chars is {max_chars}")
    folded = _WHITE_SPACE.sub(" ", text)
    if folded.isascii() and folded.isprintable():  # the common case, and nothing below would change it
        return folded.strip() or None
    kept = "".join(filter(_is_kept, folded))
    # Removing a character can bring a base and its mark together, so NFC comes after it; and neighbours that were
    # parted by a removed character may both be spaces, so folding comes last.
    return _WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", kept)).strip() or None


def _is_kept(character: str) -> bool:
    if character in _DROPPED_FORMATS:
        return False
    return unicodedata.category(character) not in _DROPPED_CATEGORIES
