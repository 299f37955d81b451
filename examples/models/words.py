"""WordNet's nouns: which words mean the same, and a wide list of words and glosses for the text side."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

# Lexicographer files of things that can be drawn (animal, artifact, body, food, object, person, ...); see lexnames(5WN).
DRAWABLE_FILES = {"05", "06", "08", "13", "15", "17", "18", "19", "20", "25", "27"}


@dataclass
class WordNet:
    """`synonyms[word]`: words that share one of the word's first two noun senses. `texts`: words and glosses."""

    synonyms: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    texts: list[str] = field(default_factory=list)


def read_wordnet(root: Path) -> WordNet:
    """Parse WordNet 3.0's noun files (format: wndb(5WN)) under `root`/usr/share/wordnet."""
    folder = root / "usr" / "share" / "wordnet"
    net = WordNet()
    lemmas_at: dict[str, list[str]] = {}
    for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        left, _, gloss = line.partition(" | ")
        fields = left.split()
        count = int(fields[3], 16)
        lemmas = [fields[4 + 2 * i].replace("_", " ").lower() for i in range(count)]
        lemmas_at[fields[0]] = lemmas
        if fields[1] in DRAWABLE_FILES:
            net.texts.extend(lemmas)
            definition = re.sub(r'; ".*', "", gloss).strip()
            net.texts.append(f"{lemmas[0]}: {definition}"[:120])
    for line in (folder / "index.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.split()
        senses = fields[-int(fields[2]) :][:2]
        word = fields[0].replace("_", " ")
        for sense in senses:
            net.synonyms[word].update(lemma for lemma in lemmas_at[sense] if lemma != word)
    net.texts = list(dict.fromkeys(net.texts))
    return net
