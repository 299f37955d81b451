"""Normalised captions: one Unicode form, no control characters, single spaces."""

from __future__ import annotations

import re
import unicodedata

from fuseid.core.errors import TooLarge

_WHITE_SPACE = re.compile(r"\s+")

# Control characters, lone surrogates (which UTF-8 cannot encode), private-use and unassigned characters mean nothing to
# an encoder. Format characters (Cf) are kept, since joiners build emoji and Indic letters, except for the byte-order
# mark and the bidirectional overrides.
_DROPPED_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Cn"})
_DROPPED_FORMATS = frozenset("\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def normalise_caption(text: str | None, max_chars: int) -> str | None:
    """NFC, without control characters, white space reduced to single spaces; None if nothing is left.

    Idempotent. Raises TooLarge if `text`, before any change, has more than `max_chars` characters: the limit bounds
    the work done here.
    """
    if text is None:
        return None
    if len(text) > max_chars:
        raise TooLarge(f"caption has {len(text)} characters, the limit decode.max_caption_chars is {max_chars}")
    folded = _WHITE_SPACE.sub(" ", text)
    if folded.isascii() and folded.isprintable():  # the common case: nothing below would change it
        return folded.strip() or None
    kept = "".join(filter(_is_kept, folded))
    # Removing a character can bring a base letter and its accent together, so NFC comes after it; and it can bring two
    # spaces together, so spaces are reduced last.
    return _WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", kept)).strip() or None


def _is_kept(character: str) -> bool:
    if character in _DROPPED_FORMATS:
        return False
    return unicodedata.category(character) not in _DROPPED_CATEGORIES
