"""The emoji concepts, their words, and the tenth of them that is never used in training under any name."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

COMPONENT_GROUP = 2  # skin tones and hair, no pictures of their own
FLAG_GROUP = 9
GENDER = {"man", "woman", "men", "women", "person", "people", "boy", "girl", "male", "female", "mrs", "mr", "mx"}
# Head nouns that are too general alone ("dog face", "A button"): then the whole phrase is the key.
VAGUE = {
    "face",
    "sign",
    "button",
    "symbol",
    "mark",
    "hand",
    "gesture",
    "arrow",
    "square",
    "circle",
    "flag",
    "suit",
    "moon",
    "eye",
    "finger",
    "way",
    "triangle",
    "paper",
    "out",
    "up",
    "down",
    "right",
    "left",
    "decoration",
    "place",
    "done",
    "worker",
    "hair",
    "light",
    "room",
    "ball",
    "number",
    "picture",
    "thing",
    "m",
}
# Other names of held-out concepts, and things that are often drawn as one of them. Clip art and icons that mention one
# are excluded too, in addition to the names and synonyms that are excluded from every training text.
LIKE_HELD_OUT = {
    "accessibility", "accessible", "handicapped", "disability", "disabled", "alarm", "timer", "timepiece", "restaurant",
    "dining", "cutlery", "silverware", "tombstone", "gravestone", "grave", "cemetery", "tiara", "diadem", "moon",
    "crescent", "lightning", "bolt", "thunderbolt", "flash", "zap", "energy", "galaxy", "beer", "pint", "ale", "lager",
    "tea", "ramen", "noodle", "sedan", "coupe", "racecar", "traffic light", "traffic signal", "stoplight", "spade",
    "pony", "mare", "stallion", "foal", "colt", "lioness", "carousel", "streetcar", "trolley", "tramcar", "wagon",
    "santa", "ballerina", "ballet", "chili", "chilli", "capsicum", "jalapeno", "fax", "gene", "helix", "paratrooper",
    "skydiving", "skateboarding", "target", "dartboard", "dart", "painting", "picture frame", "photo frame", "club",
    "onsen", "double helix", "tooth brush", "screw driver", "tool box", "vote", "ballot", "letterbox", "kitty", "cub",
    "teddy", "plush", "barbell", "weightlifting", "mosque", "church", "doorbell", "big ben", "wheel chair", "crowned",
    "clockwork", "children", "fishbone", "jawbone", "checkbox", "shovels",
}  # fmt: skip
CUTS = re.compile(r"\b(?:with|without|in|of|on|at|and|behind|over|from|for|holding|facing|wearing)\b")


@dataclass(frozen=True)
class Concept:
    """One emoji without its skin tones. `base` is the key shared with its synonyms, gender and tone variants."""

    hexcode: str
    label: str
    tags: tuple[str, ...]
    group: int
    base: str
    held_out: bool
    in_training: bool  # false for held-out concepts and for those whose label mentions one


def squash(text: str) -> str:
    """Letters and digits only, lower case, without accents: the form in which names of packages are compared."""
    plain = unicodedata.normalize("NFKD", text.lower().replace("&", "and")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", plain)


def words_of(text: str) -> list[str]:
    """Lower-case words without a plural s, so that 'hearts' and 'heart' are one word."""
    found = re.findall(r"[a-z0-9]+", unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode())
    return [w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in found]


def base_key(label: str, group: int) -> str:
    """Key of a concept: its head noun without gender, or the whole phrase if the head noun is too general."""
    if group == FLAG_GROUP:
        return " ".join(words_of(label.removeprefix("flag: ")))
    text = re.sub(r"\(.*?\)", " ", label.lower().replace("’", ""))
    if "oclock" in text or text.endswith("thirty"):
        return "clock"
    text = CUTS.split(text.split(":")[0])[0]
    words = [w for w in words_of(text) if w not in GENDER]
    if not words:
        words = [w for w in words_of(label) if w not in GENDER][-1:] or ["person"]
    if words[-1] not in VAGUE:
        return words[-1]
    return " ".join(words) if len(words) > 1 else " ".join(w for w in words_of(label) if w not in GENDER)


def _groups(keys: list[str], synonyms: dict[str, set[str]]) -> dict[str, str]:
    """Join keys that WordNet calls synonyms; each key is mapped to the first key of its group."""
    parent = {key: key for key in keys}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    for key in sorted(parent):
        for other in sorted(synonyms.get(key, ())):
            other = " ".join(words_of(other))
            if other in parent and root(other) != root(key):
                first, second = sorted((root(key), root(other)))
                parent[second] = first
    return {key: root(key) for key in parent}


def is_held_out(base: str) -> bool:
    """One base concept in ten, by a hash that depends only on its name."""
    return int(hashlib.sha256(f"held out: {base}".encode()).hexdigest(), 16) % 10 == 0


def mentions(text: str, phrases: set[str]) -> bool:
    """Whether the text contains one of `phrases` (in the form of `words_of`) as whole words."""
    padded = f" {' '.join(words_of(text))} "
    return any(f" {phrase} " in padded for phrase in phrases)


def load_concepts(emojibase: Path, synonyms: dict[str, set[str]]) -> tuple[list[Concept], set[str]]:
    """All concepts in emojibase's order, and the phrases (names and synonyms) that no training text may contain."""
    entries = json.loads((emojibase / "en" / "data.json").read_text(encoding="utf-8"))
    entries = [e for e in entries if e.get("group") is not None and e["group"] != COMPONENT_GROUP]
    keys = [base_key(e["label"], e["group"]) for e in entries]
    bases = _groups(keys, synonyms)
    banned: set[str] = set()
    for key in keys:
        if is_held_out(bases[key]):
            banned.add(key)
            banned.update(" ".join(words_of(s)) for s in synonyms.get(key, ()))
    banned = {phrase for phrase in banned if len(phrase) > 1 and phrase not in VAGUE | GENDER}
    concepts = []
    for entry, key in zip(entries, keys, strict=True):
        held_out = is_held_out(bases[key])
        concepts.append(
            Concept(
                hexcode="-".join(p for p in entry["hexcode"].lower().split("-") if p != "fe0f").lstrip("0"),
                label=entry["label"],
                tags=tuple(entry.get("tags", ())),
                group=entry["group"],
                base=bases[key],
                held_out=held_out,
                in_training=not held_out and not mentions(entry["label"], banned),
            )
        )
    return concepts, banned
