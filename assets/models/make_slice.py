"""Write the small frozen slice on which tests/encoders/test_checkpoints.py tests the two models.

The same concepts in the held-out style and in one known style, as pictures on white, with the words that count as
naming them, and the current figures of the two checkpoints on it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from concepts import base_key, words_of
from data import build
from evaluate_clip import KNOWN_STYLE, Clip, on_white
from evaluate_vlm import Vlm
from PIL import Image
from process import restart_with_settings
from report import ranks, recall
from sources import HELD_OUT_STYLE, STYLES
from texts import label_text
from vlm_model import CAPTION_PROMPT

SEEN, UNSEEN = 48, 8


def main() -> None:
    restart_with_settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache"))
    parser.add_argument("--checkpoints", type=Path, default=Path("../../encoders/checkpoints"))
    parser.add_argument("--out", type=Path, default=Path("../../tests/data/checkpoint_slice"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = build(args.work)
    rows = {style: data.rows(style) for style in (HELD_OUT_STYLE, KNOWN_STYLE)}
    shared = sorted(
        rows[HELD_OUT_STYLE].keys() & rows[KNOWN_STYLE].keys(),
        key=lambda c: hashlib.sha256(data.concepts[c].hexcode.encode()).hexdigest(),
    )
    chosen = [c for c in shared if data.concepts[c].in_training][:SEEN]
    chosen += [c for c in shared if data.concepts[c].held_out][:UNSEEN]
    pictures: dict[str, list[Image.Image]] = {}
    for style in rows:
        for c in chosen:
            file = args.out / f"{data.concepts[c].hexcode}.{style}.webp"
            on_white(data.pictures[rows[style][c]]).save(file, quality=88, method=6)
            pictures.setdefault(style, []).append(Image.open(file).convert("RGB"))
    items = [
        {
            "hexcode": data.concepts[c].hexcode,
            "text": label_text(data.concepts[c]),
            "named_by": sorted(
                {
                    " ".join(words_of(label_text(data.concepts[c]))),
                    base_key(data.concepts[c].label, data.concepts[c].group),
                }
            ),
            "unseen_concept": data.concepts[c].held_out,
        }
        for c in chosen
    ]
    clip, vlm = Clip(args.checkpoints / "mini-clip"), Vlm(args.checkpoints / "mini-vlm")
    right = torch.arange(len(chosen))
    unseen = clip.pictures(pictures[HELD_OUT_STYLE])
    to_image = ranks(clip.texts([item["text"] for item in items]), unseen, right)
    across = ranks(unseen, clip.pictures(pictures[KNOWN_STYLE]), right)
    vlm_across = ranks(vlm.vectors(pictures[HELD_OUT_STYLE]), vlm.vectors(pictures[KNOWN_STYLE]), right)
    named: dict[str, float] = {}
    for style in rows:
        replies = [f" {' '.join(words_of(r))} " for r in vlm.replies(pictures[style], CAPTION_PROMPT)]
        hits = [any(f" {n} " in r for n in item["named_by"]) for item, r in zip(items, replies, strict=True)]
        named[style] = sum(hits) / len(hits)
    recorded = {
        "clip_text_to_image_r1": recall(to_image, 1),
        "clip_text_to_image_r10": recall(to_image, 10),
        "clip_image_to_image_r1": recall(across, 1),
        "vlm_caption_names": named[HELD_OUT_STYLE],
        "vlm_caption_names_known_style": named[KNOWN_STYLE],
        "vlm_image_to_image_r1": recall(vlm_across, 1),
    }
    licences = {s.name: f"{s.package} {s.version}, {s.credit}, {s.licence}" for s in STYLES if s.name in rows}
    slice_file = {
        "unseen_style": HELD_OUT_STYLE,
        "known_style": KNOWN_STYLE,
        "sources": licences,
        "recorded": recorded,
        "items": items,
    }
    (args.out / "slice.json").write_text(json.dumps(slice_file, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(recorded, indent=1))


if __name__ == "__main__":
    main()
