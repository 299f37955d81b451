"""What the pictures of the tests show, as numbers from 0 to 1, and how these become samples and frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 48, 24
_X = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
_Y = np.tile(np.linspace(0, 1, HEIGHT)[:, None], (1, WIDTH))
RGB = np.stack([_X, _Y, 1 - 0.5 * _X - 0.5 * _Y], -1)
GREY = 0.8 * _X + 0.2 * _Y
ALPHA = 0.25 + 0.5 * _Y


@dataclass(frozen=True)
class Case:
    """name: its suffix is that of the format. expected: uint8 [H, W, 3], or the words of the refusal."""

    name: str
    data: bytes
    expected: np.ndarray | str
    tolerance: int = 1


def of_depth(values: np.ndarray, bits: int) -> np.ndarray:
    """Numbers from 0 to 1 as unsigned samples."""
    return np.round(values * ((1 << bits) - 1)).astype(
        np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    )


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1, not premultiplied."""
    return colours * alpha[..., None] + 1 - alpha[..., None]


def shown(colours: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, 3] from 0 to 1 -> uint8 [H, W, 3]."""
    colours = colours if colours.ndim == 3 else colours[..., None]
    return np.round(255 * np.broadcast_to(colours, (*colours.shape[:2], 3)).clip(0, 1)).astype(np.uint8)
