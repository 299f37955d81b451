"""Renews `golden_ids.json`, the semantic IDs of a drawn catalogue: `python tests/data/make_golden_ids.py`.

They change when the bundled CLIP, the decoding, the fusion or the tokenizer do; then say so in the commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from fuseid.core.config import load_config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.store import Store

GOLDEN = Path(__file__).with_name("golden_ids.json")
COLOURS = {"red": (214, 40, 40), "green": (42, 157, 80), "blue": (38, 84, 196), "yellow": (244, 200, 30)}
SHAPES = ("circle", "square", "triangle")


def draw_catalogue(folder: Path) -> Path:
    """Twelve pictures, half of them with captions, and four captions alone; returns the manifest."""
    rows = []
    for colour, rgb in COLOURS.items():
        for shape in SHAPES:
            picture = Image.new("RGB", (160, 120), "white")
            pen = ImageDraw.Draw(picture)
            if shape == "circle":
                pen.ellipse((40, 20, 120, 100), fill=rgb)
            elif shape == "square":
                pen.rectangle((40, 20, 120, 100), fill=rgb)
            else:
                pen.polygon([(80, 15), (130, 105), (30, 105)], fill=rgb)
            picture.save(folder / f"{colour}-{shape}.png")
            caption = f"a {colour} {shape}" if shape != "square" else None
            rows.append({"content_id": f"{colour}-{shape}", "uri": f"{colour}-{shape}.png", "caption": caption})
        rows.append({"content_id": f"words-{colour}", "caption": f"something {colour}"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def golden_run(folder: Path) -> dict[str, str]:
    """content_id -> semantic ID, after an ingest and a fit."""
    config = load_config(None, {"tokenizer.codebook_sizes": [4, 4], "fusion.dim": 32})
    db = str(folder / "db")
    ingest(db, open_source(draw_catalogue(folder)), config, LocalRunner())
    fit(db, config)
    rows = Store.open(db).dataset("contents").to_table(columns=["content_id", "sid"]).to_pylist()
    return {row["content_id"]: row["sid"] for row in sorted(rows, key=lambda row: row["content_id"])}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        GOLDEN.write_text(json.dumps(golden_run(Path(name)), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {GOLDEN}")
