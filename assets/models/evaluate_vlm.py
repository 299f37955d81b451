"""Evaluate a mini VLM directory with transformers' Auto classes, on data that training never used.

Captions: the reply to "caption" names the concept if it contains the label, or the label's head noun, as whole words
(plurals count as singulars; a general head noun, such as "face" or "button", counts only with the other words).
Embeddings: the last hidden states over picture and prompt, averaged; a hit is the picture of the same concept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from concepts import Concept, base_key, mentions, words_of
from data import PictureSet, build
from evaluate_clip import KNOWN_STYLE, on_white
from PIL import Image
from process import restart_with_settings
from report import percent, publish, ranks, recall, selected, table
from sources import HELD_OUT_STYLE
from texts import label_text
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, AutoProcessor
from vlm_model import CAPTION_PROMPT, TAGS_PROMPT


class Vlm:
    """A checkpoint directory, opened as a user would open it."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def _inputs(self, pictures: list[Image.Image], task: str) -> dict[str, Tensor]:
        message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": task}]}]
        text = self.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return self.processor(images=pictures, text=[text] * len(pictures), padding=True, return_tensors="pt")

    @torch.inference_mode()
    def replies(self, pictures: list[Image.Image], task: str) -> list[str]:
        """Greedy answers."""
        found = []
        for start in range(0, len(pictures), 128):
            inputs = self._inputs(pictures[start : start + 128], task)
            tokens = self.model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
            found += self.processor.batch_decode(tokens, skip_special_tokens=True)
        return found

    @torch.inference_mode()
    def vectors(self, pictures: list[Image.Image]) -> Tensor:
        """Unit vectors [N, D]: the last hidden states over picture and prompt, averaged."""
        found = []
        for start in range(0, len(pictures), 128):
            inputs = self._inputs(pictures[start : start + 128], CAPTION_PROMPT)
            states = self.model(**inputs, output_hidden_states=True).hidden_states[-1]
            mask = inputs["attention_mask"].unsqueeze(-1)
            found.append(F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1))
        return torch.cat(found)


def exact(reply: str, concept: Concept) -> bool:
    """Whether the reply contains the whole label."""
    return mentions(reply, {" ".join(words_of(label_text(concept)))})


def names(reply: str, concept: Concept) -> bool:
    """Whether the reply contains the label or its head noun."""
    return exact(reply, concept) or mentions(reply, {base_key(concept.label, concept.group)})


def tag_hit(reply: str, concept: Concept) -> bool:
    """Whether one of the concept's keywords is among the replied ones."""
    return bool({t.strip() for t in reply.lower().split(",")} & {t.lower() for t in concept.tags})


def evaluate(vlm: Vlm, data: PictureSet) -> tuple[str, dict[str, float]]:
    """The two tables as one text, and the figures by name."""
    lines, figures, shown = [], {}, {}
    for style in (HELD_OUT_STYLE, KNOWN_STYLE):
        rows = data.rows(style)
        order = sorted(rows)
        pictures = [on_white(data.pictures[rows[c]]) for c in order]
        shown[style] = order, vlm.vectors(pictures)
        captions, tags = vlm.replies(pictures, CAPTION_PROMPT), vlm.replies(pictures, TAGS_PROMPT)
        for flag, name in (("in_training", "seen"), ("held_out", "unseen")):
            picked = [(i, data.concepts[c]) for i, c in enumerate(order) if getattr(data.concepts[c], flag)]
            shares = [
                sum(test(answers[i], concept) for i, concept in picked) / len(picked)
                for test, answers in ((names, captions), (exact, captions), (tag_hit, tags))
            ]
            lines.append((f"{name} concepts", style, str(len(picked)), *(percent(s) for s in shares)))
            key = f"{'unseen' if style == HELD_OUT_STYLE else 'seen'}_style_{name}_concepts"
            figures |= dict(zip((f"{key}_named", f"{key}_exact", f"{key}_tag"), shares, strict=True))
    header = ("mini VLM: replies", "style", "pictures", "caption names it", "exact label", "a tag is right")
    text = table(header, lines) + "\n\n"
    lines = []
    for source, target in ((HELD_OUT_STYLE, KNOWN_STYLE), (KNOWN_STYLE, HELD_OUT_STYLE)):
        position = {c: i for i, c in enumerate(shown[target][0])}
        for flag, name in (("in_training", "seen"), ("held_out", "unseen")):
            order, vectors = shown[source]
            picked = selected([c in position and getattr(data.concepts[c], flag) for c in order])
            right = torch.tensor([position[order[i]] for i in picked])
            rank = ranks(vectors[picked], shown[target][1], right)
            shares = [recall(rank, k) for k in (1, 5, 10)]
            gallery = (target, str(len(picked)), str(len(position)))
            lines.append((f"from {source}, {name} concepts", *gallery, *map(percent, shares)))
            figures |= {f"from_{source}_{name}_concepts_r{k}": s for k, s in zip((1, 5, 10), shares, strict=True)}
    header = ("mini VLM: image to image", "gallery style", "queries", "gallery", "R@1", "R@5", "R@10")
    return text + table(header, lines), figures


def main() -> None:
    restart_with_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache"))
    parser.add_argument("--model", type=Path, default=Path("../../encoders/checkpoints/mini-vlm"))
    parser.add_argument("--card", action="store_true", help="put the table into the model's README.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    text, figures = evaluate(Vlm(args.model), build(args.work))
    publish(text, figures, args.model / "README.md" if args.card else None, args.json)


if __name__ == "__main__":
    main()
