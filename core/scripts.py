"""Scripts that write words without spaces, or join particles to them, so that a search by words misses most."""

from __future__ import annotations

import re
import unicodedata

# Thai, Lao, Burmese, Khmer; kana, bopomofo, Han and Hangul. Korean has spaces, but particles are part of its words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3100-\u318f\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_LETTER = re.compile(f"[{_UNSPACED}]")
_RUNS = re.compile(f"([{_UNSPACED}]+)|([^\\W{_UNSPACED}]+)")
_ACCENTS = re.compile("[\u0300-\u036f]")
# Endings such as the s of a plural: a word of more letters is compared by all but its last two.
_WHOLE_LETTERS, _ENDING_LETTERS = 4, 2
# Shorter words of a query, such as articles, count only if it has no others.
_LEAST_LETTERS = 3


def is_unspaced(text: str) -> bool:
    """Whether any letter is of a script whose words a search by words misses."""
    return _LETTER.search(text) is not None


def folded(text: str) -> str:
    """For comparisons: without case and without accents of Latin, Greek and Cyrillic letters."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text))).casefold()


class Terms:
    """The words of a query, and of runs without spaces all pairs of neighbouring characters. A text holds a word if one
    of its words begins as this word does."""

    def __init__(self, query: str) -> None:
        pairs, words = set(), set()
        for run, word in _RUNS.findall(folded(query)):
            if run:
                pairs |= {run[at : at + 2] for at in range(max(1, len(run) - 1))}
            else:
                words.add(word)
        long = {word for word in words if len(word) >= _LEAST_LETTERS}
        words = long or (set() if pairs else words)
        self._pairs = tuple(sorted(pairs))
        stems = [word[:-_ENDING_LETTERS] if len(word) > _WHOLE_LETTERS else word for word in sorted(words)]
        self._words = tuple(re.compile(rf"(?<![^\W{_UNSPACED}]){re.escape(stem)}") for stem in stems)

    def __len__(self) -> int:
        return len(self._pairs) + len(self._words)

    def share_in(self, text: str) -> float:
        """The share of the terms that the text holds; 0 without any."""
        there = folded(text)
        held = sum(pair in there for pair in self._pairs) + sum(word.search(there) is not None for word in self._words)
        return held / max(1, len(self))
