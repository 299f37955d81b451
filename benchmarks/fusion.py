"""Fusion: is an item that lacks a modality close to the complete item, and does fusion help retrieval?

`python benchmarks/fusion.py --work DIR [--json OUT]`; DIR is where `python assets/models/data.py --work DIR` has put
its drawings. Every concept appears twice: in a style that the bundled models were trained on and in one that they never
saw. At random, one of the two has the concept's name as its caption and the other the keywords; again at random, one is
a picture and the other a video of 8 frames with a moving camera. Fusion and tokenizer are fitted on 70% of the
concepts, a fifth of the items without caption and a fifth without VLM, and evaluated on the other concepts.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
from PIL import Image

from fuseid.apps.show import print_rows
from fuseid.core.config import ClipConfig, FusionConfig, VlmConfig
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.vlm import TransformersVlm
from fuseid.tokenizers.rq_kmeans import RQKMeans

sys.path.insert(0, str(Path(__file__).parents[1] / "assets" / "models"))
Vectors = dict[str, np.ndarray]
Weights = dict[str, float] | None
FILLS = ("linear", "renormalise", "mean", "zero")
SEEN, UNSEEN = "noto", "twemoji"
SIDE, FRAMES = 192, 8
LACKING = {
    "image-only": ("image", ("clip_text",)),
    "video-only": ("video", ("clip_text",)),
    "caption-only": (None, ("clip_image", "vlm")),
    "without VLM": (None, ("vlm",)),
}


def frames_of(drawing: np.ndarray, moving: bool) -> list[np.ndarray]:
    """RGBA [S, S, 4] -> one frame on white, or FRAMES of them while the camera moves along the drawing and closer."""
    picture = Image.fromarray(drawing, "RGBA").resize((SIDE, SIDE))
    canvas = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    if not moving:
        return [np.asarray(canvas)]
    frames = []
    for step in range(FRAMES):
        size = SIDE * (1.0 - 0.35 * step / (FRAMES - 1))
        left, top = (SIDE - size) * step / (FRAMES - 1), (SIDE - size) / 2
        frames.append(np.asarray(canvas.crop((int(left), int(top), int(left + size), int(top + size)))))
    return frames


def encoded(work: Path) -> tuple[Vectors, np.ndarray, np.ndarray, np.ndarray]:
    """-> (vectors by modality [N, D], concept [N], whether of the unseen style [N], kind [N])."""
    from data import build
    from texts import label_text

    data = build(work)
    seen, unseen = data.rows(SEEN), data.rows(UNSEEN)
    concepts = sorted(c for c in set(seen) & set(unseen) if keywords(data.concepts[c]))
    items, captions, kinds = [], [], []
    coins = np.random.default_rng(0).random((2, len(concepts))) < 0.5
    for rows, flip in ((seen, False), (unseen, True)):
        for concept, by_keywords, moving in zip(concepts, *(coins ^ flip), strict=True):
            items.append(frames_of(data.pictures[rows[concept]], moving))
            captions.append((keywords if by_keywords else label_text)(data.concepts[concept]))
            kinds.append("video" if moving else "image")
    clip = OpenClip(ClipConfig())
    flat = clip.encode_frames([frame for frames in items for frame in frames])
    ends = np.cumsum([len(frames) for frames in items])
    vlm = TransformersVlm(VlmConfig(model="builtin:mini-vlm", prompt="caption"))
    vectors = {
        "clip_image": np.stack([flat[end - len(f) : end].mean(0) for end, f in zip(ends, items, strict=True)]),
        "clip_text": clip.encode_texts(captions),
        "vlm": vlm.encode_items([(frames, None) for frames in items]),
    }
    return vectors, np.array(concepts * 2), np.repeat([False, True], len(concepts)), np.array(kinds)


def keywords(concept) -> str:
    return ", ".join([tag for tag in concept.tags if tag.lower() not in concept.label.lower()][:4])


def lacking(vectors: Vectors, absent: tuple[str, ...]) -> Vectors:
    return {m: np.full_like(v, np.nan) if m in absent else v for m, v in vectors.items()}


def at(vectors: Vectors, rows: np.ndarray) -> Vectors:
    return {m: v[rows] for m, v in vectors.items()}


def judge_fills(
    vectors: Vectors, kinds: np.ndarray, learn: np.ndarray, judge: np.ndarray, weights: Weights
) -> list[dict]:
    """Cosine to the complete item's vector, and share with the same first code, for tokenizers of 3 seeds."""
    rng = np.random.default_rng(0)
    sample = at(vectors, learn)
    for m in ("clip_text", "vlm"):
        sample[m] = np.where(rng.random((len(learn), 1)) < 0.2, np.float32(np.nan), sample[m])
    rows = []
    for fill in FILLS:
        fusion = Fusion.fit(sample, weights, 128, {}, fill=fill)
        fused = fusion.transform(sample)
        tokenizers = [RQKMeans.fit(fused, (64,), seed=seed) for seed in range(3)]
        for name, (kind, absent) in LACKING.items():
            which = judge[kinds[judge] == kind] if kind else judge
            whole, part = fusion.transform(at(vectors, which)), fusion.transform(lacking(at(vectors, which), absent))
            same = [(t.encode(whole)[:, 0] == t.encode(part)[:, 0]).mean() for t in tokenizers]
            row = {"lacking": name, "items": len(which), "fill": fill}
            rows.append(row | {"cosine": float((whole * part).sum(1).mean()), "first_code": float(np.mean(same))})
    return sorted(rows, key=lambda row: (list(LACKING).index(row["lacking"]), FILLS.index(row["fill"])))


def judge_retrieval(
    vectors: Vectors,
    concept: np.ndarray,
    unseen: np.ndarray,
    learn: np.ndarray,
    judge: np.ndarray,
    weights: Weights,
) -> list[dict]:
    """Queries: evaluated items of the unseen style; gallery: all items of the other. 95% bootstrap intervals over
    queries, for each share of hits and for the difference of `fused` to it."""
    fusion = Fusion.fit(at(vectors, learn), weights, 128, {})
    spaces = {"fused": fusion.transform(vectors)}
    spaces |= {m: values / np.linalg.norm(values, axis=1, keepdims=True) for m, values in vectors.items()}
    queries, gallery = judge[unseen[judge]], np.flatnonzero(~unseen)
    ranks = {}
    for name, space in spaces.items():
        scores = space[queries] @ space[gallery].T
        own = scores[concept[queries][:, None] == concept[gallery][None, :]]
        ranks[name] = (scores >= own[:, None]).sum(1)  # ties count as misses
    draws = np.random.default_rng(0).integers(0, len(queries), (2000, len(queries)))
    rows = []
    for name, rank in ranks.items():
        row: dict = {"space": name, "queries": len(queries), "gallery": len(gallery)}
        for k in (1, 10):
            row |= {f"r{k}": float((rank <= k).mean()), f"r{k}_interval": interval((rank <= k)[draws].mean(1))}
            if name != "fused":
                gain = (ranks["fused"] <= k).astype(float) - (rank <= k)
                row[f"fused_above_r{k}"] = interval(gain[draws].mean(1))
        rows.append(row)
    return rows


def interval(draws: np.ndarray) -> list[float]:
    return [float(x) for x in np.quantile(draws, (0.025, 0.975))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="also write the tables as JSON")
    arguments = parser.parse_args()
    vectors, concept, unseen, kinds = encoded(arguments.work)
    concepts = np.random.default_rng(0).permutation(np.unique(concept))
    learned = np.isin(concept, concepts[: int(0.7 * len(concepts))])
    learn, judge = np.flatnonzero(learned), np.flatnonzero(~learned)
    defaults = {m: FusionConfig().weights[m] for m in vectors}  # type: ignore[index]
    tables = {}
    for name, weights in (("default weights", defaults), ("weights from the data", None)):
        fills = judge_fills(vectors, kinds, learn, judge, weights)
        retrieval = judge_retrieval(vectors, concept, unseen, learn, judge, weights)
        tables[name] = {"absent": fills, "retrieval": retrieval}
        print_rows(map(shown, fills), ("lacking", "items", "fill", "cosine", "first_code"), title=name)
        columns = ("space", "r1", "r1_interval", "fused_above_r1", "r10", "r10_interval", "fused_above_r10")
        print_rows(map(shown, retrieval), columns, title=f"same concept in another style, {name}")
    if arguments.json:
        arguments.json.write_text(json.dumps(tables, indent=1) + "\n")


def shown(row: dict) -> dict:
    def text(value: object) -> object:
        if isinstance(value, list):
            return " to ".join(f"{100 * x:.1f}" for x in value)
        return f"{value:.3f}" if isinstance(value, float) else value

    return {name: text(value) for name, value in row.items()}


if __name__ == "__main__":
    main()
