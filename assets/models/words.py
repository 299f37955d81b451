"""WordNet's nouns: synonyms, and a large list of words for the text side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

# Lexicographer files (lexnames(5WN)) of things that can be drawn: animal, artifact, body, food, object, person, ...
DRAWABLE_FILES = {"05", "06", "08", "13", "15", "17", "18", "19", "20", "25", "27"}
# animal, artifact, body, food, object, person, plant
THING_FILES = {"05", "06", "08", "13", "17", "18", "20"}


@dataclass
class WordNet:
    """`synonyms[word]`: words that share the word's first (most used) noun sense.

    `texts`: nouns that occur in WordNet's tagged text, and other single words for things that can be drawn.
    `things`: nouns whose first sense is a living being or a solid object.
    """

    synonyms: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    texts: list[str] = field(default_factory=list)
    things: set[str] = field(default_factory=set)


def read_wordnet(root: Path) -> WordNet:
    """Parse WordNet 3.0's noun files (format: wndb(5WN)) under `root`/usr/share/wordnet."""
    folder = root / "usr" / "share" / "wordnet"
    net = WordNet()
    lemmas_at: dict[str, list[str]] = {}
    file_of: dict[str, str] = {}
    for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.partition(" | ")[0].split()
        lemmas_at[fields[0]] = [fields[4 + 2 * i].replace("_", " ").lower() for i in range(int(fields[3], 16))]
        file_of[fields[0]] = fields[1]
    for line in (folder / "index.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        fields = line.split()
        word, senses, tagged = fields[0].replace("_", " "), fields[-int(fields[2]) :], int(fields[-int(fields[2]) - 1])
        net.synonyms[word].update(lemma for lemma in lemmas_at[senses[0]] if lemma != word)
        if tagged or (file_of[senses[0]] in DRAWABLE_FILES and word.isalpha()):
            net.texts.append(word)
        if file_of[senses[0]] in THING_FILES:
            net.things.add(word)
    return net
