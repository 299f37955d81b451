"""The contents of one training step: distinct concepts, each in two styles and two wordings, and other named
pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from data import CLIPART, PictureSet
from sources import HELD_OUT_STYLE, ICON_SETS, STYLES
from texts import concept_texts

OTHER_CAPTIONS = 1024  # captions without pictures in the step, as further wrong answers
NAMED = (CLIPART, *(s.name for s in ICON_SETS))


@dataclass
class Draw:
    """Picture rows and text rows of one step: concepts in a first style, then clip art and icons; and concepts in a
    second style.

    `gallery` has a text row for every concept, for the captions of this step's pictures and for some others;
    `classes_*` are indices into it.
    """

    pictures_a: list[int]
    pictures_b: list[int]
    texts_a: list[int]
    texts_b: list[int]
    classes_a: list[int]
    classes_b: list[int]
    gallery: list[int]


class Sampler:
    """Draws steps of `pairs` concepts and `named` captions of the sets in `sets`, without repetition in a step.

    `texts` are the texts of pictures; `owners` are the indices of their concepts, or -1.
    """

    def __init__(self, data: PictureSet, seed: int, pairs: int, named: int, sets: tuple[str, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.pairs, self.named = pairs, named
        train_styles = {s.name for s in STYLES} - {HELD_OUT_STYLE}
        rows: dict[int, list[int]] = {}
        for row, (style, concept) in enumerate(zip(data.style, data.concept, strict=True)):
            if style in train_styles and data.concepts[concept].in_training:
                rows.setdefault(int(concept), []).append(row)
        self.rows = [rows[concept] for concept in sorted(rows)]
        self.texts: list[str] = []
        self.owners: list[int] = []
        self.spans: list[tuple[int, int]] = []  # (first text, number of texts) of each class
        for concept in sorted(rows):
            wordings = concept_texts(data.concepts[concept], data.banned)
            self.spans.append((len(self.texts), len(wordings)))
            self.texts += wordings
            self.owners += [concept] * len(wordings)
        captioned: dict[str, list[int]] = {}
        for row, style in enumerate(data.style):
            if style in sets:
                captioned.setdefault(data.caption[row], []).append(row)
        for caption, same in captioned.items():
            self.spans.append((len(self.texts), 1))
            self.texts.append(caption)
            self.owners.append(-1)
            self.rows.append(same)
        self.concept_count = len(rows)
        self.starts_counts = np.array(self.spans).T

    def _texts(self, numbers: list[int]) -> list[int]:
        """A text row for each class: the plain label six times in ten, else any of its wordings."""
        starts, counts = self.starts_counts[:, numbers]
        other = (self.rng.random(len(numbers)) * counts).astype(int)
        return (starts + np.where(self.rng.random(len(numbers)) < 0.6, 0, other)).tolist()

    def captions(self) -> list[str]:
        """The captions of clip art and icons."""
        return self.texts[self.spans[self.concept_count][0] :]

    def draw(self) -> Draw:
        concepts = self.rng.choice(self.concept_count, self.pairs, replace=False).tolist()
        others = self.rng.choice(len(self.rows) - self.concept_count, self.named + OTHER_CAPTIONS, replace=False)
        others = (others + self.concept_count).tolist()
        named = others[: self.named]
        pairs = [self.rng.choice(self.rows[c], 2, replace=len(self.rows[c]) < 2) for c in concepts]
        single = [int(self.rng.choice(self.rows[c])) for c in named]
        return Draw(
            pictures_a=[int(first) for first, _ in pairs] + single,
            pictures_b=[int(second) for _, second in pairs],
            texts_a=self._texts(concepts + named),
            texts_b=self._texts(concepts),
            classes_a=concepts + list(range(self.concept_count, self.concept_count + self.named)),
            classes_b=concepts,
            gallery=self._texts([*range(self.concept_count), *others]),
        )
