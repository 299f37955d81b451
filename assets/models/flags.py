"""Descriptions of flags from the World Factbook, so that the text side can learn what a named flag looks like."""

from __future__ import annotations

import json
import re
from pathlib import Path

from concepts import FLAG_GROUP, Concept, mentions, squash

# The Factbook's names that differ from those of emojibase.
OTHERWISE_CALLED = {
    "cocoskeelingislands": "Cocos (Keeling) Islands",
    "burma": "Myanmar (Burma)",
    "caboverde": "Cape Verde",
    "czechrepublic": "Czechia",
    "democraticrepublicofthecongo": "Congo - Kinshasa",
    "republicofthecongo": "Congo - Brazzaville",
    "federatedstatesofmicronesia": "Micronesia",
    "hongkong": "Hong Kong SAR China",
    "macau": "Macao SAR China",
    "macedonia": "North Macedonia",
    "theholysee": "Vatican City",
    "holysee": "Vatican City",
    "vaticancity": "Vatican City",
    "frenchsouthernandantarcticlands": "French Southern Territories",
    "saintvincentandthegrenadines": "St. Vincent & Grenadines",
    "virginislands": "U.S. Virgin Islands",
    "unitedstatesvirginislands": "U.S. Virgin Islands",
    "westernsahara": "Western Sahara",
    "europeanunion": "European Union",
}
# Where the description changes from the appearance to the meaning.
TURNS = re.compile(
    r"; (?:the (?:colou?r|blue|red|white|green|design|flag|band)|[a-z]+ (?:represent|stand|symbol)|note)"
    r"|note[:-]|, represent|symboli[sz]"
)
LONGEST = 220  # characters; the sentence encoder reads about as much


def _names(country: dict) -> set[str]:
    """Squashed spellings of a Factbook country's name."""
    found = set()
    for field in country.values():
        text = re.sub(r"\(.*?\)", "", field.get("text", "")) if isinstance(field, dict) else ""
        for spelling in (text, text.split(",")[0], " ".join(reversed(text.split(", "))), text.replace("The ", "")):
            found.add(squash(spelling))
            found.add(squash(spelling.replace("Saint ", "St. ")))
    return found


def flag_looks(factbook: Path, concepts: list[Concept], banned: set[str]) -> dict[int, str]:
    """Concept index -> a description of the flag.

    For flags in training, which have pictures, parts that mention a held-out concept ("a lion", "a crown") are
    excluded.
    """
    by_name = {squash(c.label.removeprefix("flag: ")): i for i, c in enumerate(concepts) if c.group == FLAG_GROUP}
    looks: dict[int, str] = {}
    for file in sorted(factbook.glob("*/*.json")):
        government = json.loads(file.read_text(encoding="utf-8")).get("Government", {})
        description = government.get("Flag description", {})
        if not isinstance(description, dict) or "text" not in description:
            continue
        look = TURNS.split(description["text"])[0][:LONGEST]
        for name in _names(government.get("Country name", {})):
            index = by_name.get(squash(OTHERWISE_CALLED.get(name, name)))
            if index is not None:
                looks[index] = look
    for index, look in looks.items():
        if concepts[index].in_training:
            look = ", ".join(part for part in re.split(r"[,;] ", look) if not mentions(part, banned))
        looks[index] = f"a flag with {look}"
    return looks
