"""What one training step sees: distinct concepts, each in two styles and two wordings, and some clip art."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import CLIPART, PictureSet
from sources import HELD_OUT_STYLE, STYLES
from texts import concept_texts, teacher_vectors

CONCEPTS_PER_STEP, CLIPART_PER_STEP = 112, 32


@dataclass
class Draw:
    """Picture rows and text rows of one step: concepts in a first style, then clip art; and concepts in a second style.

    `classes_*` count concepts first and then distinct clip-art captions, as `Sampler.gallery` does.
    """

    pictures_a: list[int]
    pictures_b: list[int]
    texts_a: list[int]
    texts_b: list[int]
    classes_a: list[int]
    classes_b: list[int]


class Sampler:
    """Draws steps without repeats, so that nothing in a step is a false negative of something else in it."""

    def __init__(self, data: PictureSet, work: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        train_styles = {s.name for s in STYLES} - {HELD_OUT_STYLE}
        rows: dict[int, list[int]] = {}
        for row, (style, concept) in enumerate(zip(data.style, data.concept, strict=True)):
            if style in train_styles and data.concepts[concept].in_training:
                rows.setdefault(int(concept), []).append(row)
        self.rows = [rows[concept] for concept in sorted(rows)]
        self.texts: list[str] = []
        self.spans: list[tuple[int, int]] = []  # (first text, number of texts) of each class
        for concept in sorted(rows):
            wordings = concept_texts(data.concepts[concept], data.banned)
            self.spans.append((len(self.texts), len(wordings)))
            self.texts += wordings
        captioned: dict[str, list[int]] = {}
        for row, style in enumerate(data.style):
            if style == CLIPART:
                captioned.setdefault(data.caption[row], []).append(row)
        for caption, same in captioned.items():
            self.spans.append((len(self.texts), 1))
            self.texts.append(caption)
            self.rows.append(same)
        self.concept_count = len(rows)
        self.vectors = torch.from_numpy(teacher_vectors(self.texts, work / "teacher-beside.npy"))

    def _texts(self, numbers: list[int]) -> list[int]:
        """A text row for each class: the plain label six times in ten, else any of its wordings."""
        starts, counts = np.array([self.spans[number] for number in numbers]).T
        other = (self.rng.random(len(numbers)) * counts).astype(int)
        return (starts + np.where(self.rng.random(len(numbers)) < 0.6, 0, other)).tolist()

    def gallery(self) -> list[int]:
        """One text row for every class there is."""
        return self._texts(list(range(len(self.spans))))

    def draw(self) -> Draw:
        concepts = self.rng.choice(self.concept_count, CONCEPTS_PER_STEP, replace=False).tolist()
        others = self.rng.choice(len(self.rows) - self.concept_count, CLIPART_PER_STEP, replace=False)
        clipart = (others + self.concept_count).tolist()
        pairs = [self.rng.choice(self.rows[c], 2, replace=len(self.rows[c]) < 2) for c in concepts]
        single = [int(self.rng.choice(self.rows[c])) for c in clipart]
        return Draw(
            pictures_a=[int(first) for first, _ in pairs] + single,
            pictures_b=[int(second) for _, second in pairs],
            texts_a=self._texts(concepts + clipart),
            texts_b=self._texts(concepts),
            classes_a=concepts + clipart,
            classes_b=concepts,
        )
