"""Encoders for tests, also for users' tests: no model, the same vectors everywhere, similar inputs near each other.

They use only the colours of a picture and their positions, and the letters of words. `clip.model: fake` and
`vlm.model: fake` (`fake:128` for vectors of 128 numbers) select them in a configuration; they are never the default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.core.records import Description
from fuseid.encoders.blocks import unit_rows
from fuseid.encoders.model_identity import clip_fingerprint, vlm_fingerprint
from fuseid.encoders.vlm_reading import reading_of, spread

_GRID = 8
_COLOURS = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 210),
    "yellow": (240, 210, 40),
}


class FakeClip:
    """A `ClipLike`. Pictures with similar colours are near each other, and so are captions with similar letters; a
    picture and its caption are not."""

    def __init__(self, dim: int = 64, config: ClipConfig | None = None) -> None:
        self.dim = dim
        self.fingerprint = clip_fingerprint(config or ClipConfig(model=f"fake:{dim}"))

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] each, of any sizes -> float32 [N, dim], unit norm."""
        return unit_rows(np.stack([_seen(frame, self.dim) for frame in frames]))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm."""
        return unit_rows(np.stack([_read(text, self.dim) for text in texts]))


class FakeVlm:
    """A `VlmLike` that follows `frames`, `prompt`, `caption` and `tags` of its configuration."""

    def __init__(self, dim: int = 64, config: VlmConfig | None = None) -> None:
        config = config or VlmConfig(model=f"fake:{dim}")
        self.dim = dim
        self.fingerprint = vlm_fingerprint(config)
        self._config = config
        self._reading = reading_of(config)

    def encode_items(self, items: Sequence[tuple[Sequence[np.ndarray], str | None]]) -> np.ndarray:
        """(frames uint8 [T, H, W, 3] or none, caption) each -> float32 [N, dim], unit norm."""
        return unit_rows(np.stack([self._item(frames, caption) for frames, caption in items]))

    def describe(self, frames: Sequence[Sequence[np.ndarray]]) -> list[Description]:
        """uint8 [T, H, W, 3] each -> `something red`, and its colour and shape as tags."""
        return [self._described(item) for item in frames]

    def _item(self, frames: Sequence[np.ndarray], caption: str | None) -> np.ndarray:
        seen = [_seen(frames[i], self.dim) for i in spread(len(frames), self._config.frames)]
        words = _read(self._reading.text(len(frames) > 0, caption), self.dim)
        return np.sum(seen, axis=0) / len(seen) + words if seen else words

    def _described(self, frames: Sequence[np.ndarray]) -> Description:
        frame = frames[len(frames) // 2]
        mean = frame.reshape(-1, 3).mean(0)
        colour = min(_COLOURS, key=lambda name: float(np.square(mean - _COLOURS[name]).sum()))
        shape = "wide" if frame.shape[1] > frame.shape[0] else "tall"
        return Description(
            f"something {colour}" if self._config.caption is not None else None,
            (colour, shape) if self._config.tags is not None else None,
        )


def _seen(frame: np.ndarray, dim: int) -> np.ndarray:
    """A frame's colours on a coarse grid, multiplied by a fixed matrix -> float64 [dim], unit norm.

    One row at a time and without BLAS, whose last bits depend on the other rows.
    """
    small = Image.fromarray(frame).resize((_GRID, _GRID), Image.Resampling.BOX)
    # Without the constant, a uniformly grey picture would be a zero vector.
    features = np.append(np.asarray(small, dtype=np.float64).reshape(-1) / 255 - 0.5, 0.25)
    mixed = (features[:, None] * _mixing(dim)).sum(0)
    return mixed / np.sqrt(np.square(mixed).sum())


def _read(text: str, dim: int) -> np.ndarray:
    """Hashed runs of three letters (feature hashing, Weinberger et al. 2009) -> float64 [dim], unit norm."""
    padded = f"  {' '.join(text.lower().split())} "
    vector = np.zeros(dim)
    for start in range(len(padded) - 2):
        digest = hashlib.blake2b(padded[start : start + 3].encode("utf-8", "surrogatepass"), digest_size=8).digest()
        vector[int.from_bytes(digest[:4], "big") % dim] += 1 if digest[4] & 1 else -1
    if not vector.any():
        vector[0] = 1.0
    return vector / np.sqrt(np.square(vector).sum())


def _mixing(dim: int) -> np.ndarray:
    # numpy guarantees that RandomState's numbers never change; those of default_rng may.
    return np.random.RandomState(2026).standard_normal((3 * _GRID * _GRID + 1, dim))
