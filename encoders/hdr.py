"""Frames of high dynamic range (PQ, HLG) to the standard range of sRGB, in which CLIP and VLM models were trained."""

from __future__ import annotations

from functools import cache

import numpy as np

# FFmpeg's numbers (ITU-T H.273) of the transfer functions of BT.2100.
_PQ, _HLG = 16, 18
TRANSFERS = frozenset({_PQ, _HLG})

# Diffuse white of BT.2408 in cd/m2: the white of a page, 1.0 in linear light here. Highlights are above.
_WHITE = 203.0
# HLG is decoded for the display of BT.2100: 1,000 cd/m2.
_HLG_PEAK = 1000.0

# Linear light above this is compressed towards 1.0; below it, colours stay as they are.
_KNEE = 0.75

# Linear RGB of other primaries (by H.273) to those of BT.709: BT.2087, and the same derivation for P3 with D65.
_TO_BT709 = {
    9: np.array(((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)), np.float32),
    12: np.array(((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)), np.float32),
}


def sdr_of(rgb: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """uint16 [H, W, 3], RGB in `transfer` (one of TRANSFERS) and `primaries`, to uint8 [H, W, 3] in sRGB."""
    light = _linear(transfer)[rgb]
    if transfer == _HLG:  # the display's part of the transfer, by luminance (BT.2100, system gamma 1.2)
        luminance = light @ np.array((0.2627, 0.6780, 0.0593), np.float32)
        light *= (_HLG_PEAK / _WHITE) * np.maximum(luminance, 1e-6)[..., None] ** 0.2
    if primaries in _TO_BT709:
        light = np.maximum(light @ _TO_BT709[primaries].T, 0.0)
    brightest = light.max(-1, keepdims=True)
    above = np.maximum(brightest - _KNEE, 0.0) / (1.0 - _KNEE)
    light *= np.where(above > 0, (_KNEE + (1.0 - _KNEE) * above / (1.0 + above)) / np.maximum(brightest, _KNEE), 1.0)
    return _SRGB[(np.clip(light, 0.0, 1.0) * (len(_SRGB) - 1) + 0.5).astype(np.uint16)]


@cache
def _linear(transfer: int) -> np.ndarray:
    """float32 [65536]: for PQ the light of the display, 1.0 for `_WHITE`; for HLG the light of the scene, 0 to 1."""
    signal = np.arange(1 << 16, dtype=np.float64) / 0xFFFF
    if transfer == _PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        light = 10_000.0 / _WHITE * (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1)
    else:  # ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return light.astype(np.float32)


def _srgb() -> np.ndarray:
    light = np.arange(1 << 14) / ((1 << 14) - 1)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * signal + 0.5).astype(np.uint8)


_SRGB = _srgb()
