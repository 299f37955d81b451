"""The words that distinguish one group of captions from the rest, by tf-idf."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_COMMON = frozenset("a an and at by for from in into is it its of on or over the to under with one two".split())  # noqa: SIM905


def words_of(caption: str | None) -> set[str]:
    return {word for word in re.findall(r"[a-z]{3,}", (caption or "").lower()) if word not in _COMMON}


def telling_words(captions: Iterable[str | None], everywhere: Counter[str], total: int, most: int = 5) -> list[str]:
    """Words that occur in at least two captions of the group. everywhere: how many of `total` captions contain a
    word."""
    here = Counter(word for caption in captions for word in words_of(caption))
    scored = {word: count * math.log(total / everywhere[word]) for word, count in here.items() if count > 1}
    return sorted(scored, key=lambda word: (-scored[word], word))[:most]
