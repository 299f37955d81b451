"""Evaluate a mini CLIP directory with open_clip's own loader and preprocessing, on data that training never used.

Every query is a concept's label ("red apple", "flag of France"), or one picture of it; a hit is the picture of exactly
that concept. The gallery is all pictures of a style, including held-out concepts, so a picture of a near synonym, or
the same flag under another name, counts as a miss.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import open_clip
import torch
from data import PictureSet, build
from PIL import Image
from process import restart_with_settings
from report import percent, publish, ranks, recall, selected, table
from sources import HELD_OUT_STYLE
from texts import label_text
from torch import Tensor

KNOWN_STYLE = "noto"


def on_white(rgba) -> Image.Image:
    """A cached drawing (uint8 [S, S, 4]) as an RGB picture on white, as in a catalogue."""
    picture = Image.fromarray(rgba, "RGBA")
    canvas = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(canvas, picture).convert("RGB")


class Clip:
    """A checkpoint directory, opened as a user would open it."""

    def __init__(self, folder: Path) -> None:
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Tensor:
        """Unit vectors [N, E]."""
        parts = [texts[i : i + 256] for i in range(0, len(texts), 256)]
        return torch.cat([self.model.encode_text(self.tokenizer(part), normalize=True) for part in parts])

    @torch.inference_mode()
    def pictures(self, pictures: list[Image.Image]) -> Tensor:
        """Unit vectors [N, E]."""
        found = []
        for start in range(0, len(pictures), 128):
            pixels = torch.stack([self.preprocess(p) for p in pictures[start : start + 128]])
            found.append(self.model.encode_image(pixels, normalize=True))
        return torch.cat(found)


def evaluate(clip: Clip, data: PictureSet) -> tuple[list[tuple[str, ...]], dict[str, float]]:
    """Rows of the table and the same figures by name."""
    words = clip.texts([label_text(c) for c in data.concepts])
    shown: dict[str, tuple[list[int], Tensor]] = {}
    for style in (HELD_OUT_STYLE, KNOWN_STYLE):
        rows = data.rows(style)
        order = sorted(rows)
        shown[style] = order, clip.pictures([on_white(data.pictures[rows[c]]) for c in order])
    lines, figures = [], {}

    def add(name: str, key: str, queries: Tensor, style: str, concepts: list[int]) -> None:
        order, gallery = shown[style]
        position = {c: i for i, c in enumerate(order)}
        rank = ranks(queries, gallery, torch.tensor([position[c] for c in concepts]))
        shares = {k: recall(rank, k) for k in (1, 5, 10)}
        lines.append((name, style, str(len(concepts)), str(len(order)), *(percent(s) for s in shares.values())))
        figures.update({f"{key}_r{k}": share for k, share in shares.items()})

    for name, style, flag in (
        ("text to image, unseen style, seen concepts", HELD_OUT_STYLE, "in_training"),
        ("text to image, seen style, seen concepts", KNOWN_STYLE, "in_training"),
        ("text to image, seen style, unseen concepts", KNOWN_STYLE, "held_out"),
        ("text to image, unseen style, unseen concepts", HELD_OUT_STYLE, "held_out"),
    ):
        concepts = [c for c in shown[style][0] if getattr(data.concepts[c], flag)]
        add(name, name.replace(",", "").replace(" ", "_"), words[concepts], style, concepts)
    for source, target in ((HELD_OUT_STYLE, KNOWN_STYLE), (KNOWN_STYLE, HELD_OUT_STYLE)):
        for flag in ("in_training", "held_out"):
            order, vectors = shown[source]
            there = set(shown[target][0])
            picked = selected([c in there and getattr(data.concepts[c], flag) for c in order])
            seen = "seen" if flag == "in_training" else "unseen"
            name = f"image to image, from {source}, {seen} concepts"
            add(name, name.replace(",", "").replace(" ", "_"), vectors[picked], target, [order[i] for i in picked])
    return lines, figures


def main() -> None:
    restart_with_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache"))
    parser.add_argument("--model", type=Path, default=Path("../../encoders/checkpoints/mini-clip"))
    parser.add_argument("--card", action="store_true", help="put the table into the model's README.md")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    lines, figures = evaluate(Clip(args.model), build(args.work))
    header = ("mini CLIP", "gallery style", "queries", "gallery", "R@1", "R@5", "R@10")
    publish(table(header, lines), figures, args.model / "README.md" if args.card else None, args.json)


if __name__ == "__main__":
    main()
