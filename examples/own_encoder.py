"""Your own encoder in place of CLIP: any class that has the methods of `ClipLike`.

    python examples/own_encoder.py OUT [PICTURES]

This one knows eleven colours. A picture becomes the share of its pixels that are near each colour, a text the colours
that it names, so that both lie in one space and words find pictures.

The configuration names the class: `clip.model: python:own_encoder:ColourNames`. A name, unlike an object, also reaches
the workers of a Ray cluster, `fuseid ingest --clip` and later look-ups; all of them need the module on their path.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fuseid.api import Catalog, Config, ingest
from fuseid.core.config import ClipConfig

SAMPLE = Path(__file__).parent.parent / "assets" / "sample" / "images"

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (215, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (245, 220, 60),
    "green": (70, 160, 60),
    "blue": (50, 100, 200),
    "purple": (130, 60, 160),
    "pink": (240, 150, 190),
    "brown": (120, 75, 45),
}


class ColourNames:
    # Stored beside every vector. Change it whenever the same input would give another vector: items of another
    # fingerprint are encoded again, and a look-up never mixes the two. It belongs to the class because planning a run
    # compares it without loading the model. Of a model with weights it would hold their hash or their version.
    fingerprint = "colour-names-1"

    def __init__(self, config: ClipConfig) -> None:
        """Called once in each process that encodes: here a model would load its weights, onto `config.device`."""
        self.dim = len(COLOURS)
        self._palette_KC = np.array(list(COLOURS.values()), np.float32)

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] each, of any sizes -> float32 [N, dim], unit norm."""
        return unit(np.stack([self._shares(frame) for frame in frames]))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm."""
        counts = [[text.lower().split().count(colour) for colour in COLOURS] for text in texts]
        # A zero vector has no direction and would be rejected: a text without colours is equally near to all.
        return unit(np.array([row if any(row) else [1] * self.dim for row in counts], np.float32))

    def _shares(self, frame_HWC: np.ndarray) -> np.ndarray:
        pixels_PC = frame_HWC[::4, ::4].reshape(-1, 3).astype(np.float32)
        nearest_P = np.square(pixels_PC[:, None] - self._palette_KC).sum(2).argmin(1)
        return np.bincount(nearest_P, minlength=self.dim).astype(np.float32)


def unit(rows_ND: np.ndarray) -> np.ndarray:
    return rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)


def main(out: Path, pictures: Path = SAMPLE) -> None:
    config = Config.model_validate({"clip": {"model": "python:own_encoder:ColourNames"}})
    run = ingest(out / "db", pictures, config)
    print(f"{run.counts['committed']} pictures encoded by {ColourNames.fingerprint}")

    # The configuration is needed here too: a database never decides which Python module is imported.
    catalog = Catalog.open(out / "db", config)
    for text in ("green", "blue and white"):
        print(f"\n{text}")
        for row in catalog.search(text=text, k=3).to_pylist():
            print(f"  {row['score']:5.2f}  {row['content_id']}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
