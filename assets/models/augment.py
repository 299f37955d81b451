"""Turn cached RGBA drawings into training views: new background, place, size, tilt, colours and blur, in batches."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def _backgrounds(count: int, side: int, rng: torch.Generator) -> Tensor:
    """Mostly plain, one third smooth texture (noise enlarged from 2 to 16 cells a side); float [count, 3, side,
    side]."""
    plain = torch.rand(count, 3, 1, 1, generator=rng)
    # Most catalogue pictures have a white or light background.
    light = torch.rand(count, 1, 1, 1, generator=rng)
    plain = torch.where(light < 0.4, torch.ones_like(plain), torch.where(light < 0.65, 0.7 + 0.3 * plain, plain))
    out = plain.expand(count, 3, side, side).clone()
    textured = count // 3
    for part in torch.randperm(count, generator=rng)[:textured].chunk(4):
        if len(part):
            cells = int(2 ** torch.randint(1, 5, (1,), generator=rng))
            noise = torch.rand(len(part), 3, cells, cells, generator=rng)
            strength = torch.rand(len(part), 1, 1, 1, generator=rng) * 0.8
            texture = F.interpolate(noise, (side, side), mode="bilinear", align_corners=False)
            out[part] = (out[part] + (texture - 0.5) * 2 * strength).clamp(0, 1)
    return out


def _places(count: int, rng: torch.Generator, strength: float) -> Tensor:
    """Affine maps [count, 2, 3] from output to input coordinates: scale 0.6 to 1.1, tilt to 15 degrees, shift."""
    scale = 1.1 - torch.rand(count, generator=rng) * (0.1 + 0.4 * strength)
    aspect = 1 + (torch.rand(count, generator=rng) - 0.5) * 0.3 * strength
    angle = (torch.rand(count, generator=rng) - 0.5) * math.radians(30) * strength
    room = (1.05 - scale).clamp(min=0.05)
    shift = (torch.rand(count, 2, generator=rng) * 2 - 1) * room[:, None] * strength
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack([cos / scale * aspect, -sin / scale, sin / scale, cos / scale / aspect], 1).view(count, 2, 2)
    return torch.cat([matrix, -(matrix @ shift[:, :, None])], 2)


def _colours(rgb: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Brightness, contrast, saturation and a slight tint, each at random; some views lose their colour."""
    count = len(rgb)

    def around_one(width: float) -> Tensor:
        return 1 + (torch.rand(count, 1, 1, 1, generator=rng) * 2 - 1) * width * strength

    grey = rgb.mean(1, keepdim=True)
    saturation = around_one(0.6)
    saturation = torch.where(torch.rand(count, 1, 1, 1, generator=rng) < 0.05 * strength, 0.0, saturation)
    rgb = grey + (rgb - grey) * saturation
    middle = rgb.mean((1, 2, 3), keepdim=True)
    rgb = (middle + (rgb - middle) * around_one(0.35)) * around_one(0.25)
    tint = 1 + (torch.rand(count, 3, 1, 1, generator=rng) * 2 - 1) * 0.15 * strength
    return (rgb * tint).clamp(0, 1)


def views(
    pictures: Tensor, side: int, rng: torch.Generator, strength: float = 1.0, one_colour: Tensor | None = None
) -> Tensor:
    """Augmented views, float [B, 3, side, side] in 0..1, of RGBA drawings uint8 [B, S, S, 4].

    Drawings marked in `one_colour` (bool [B]) are painted in a colour drawn at random, dark ones more often. Mirror
    images are left out: left and right arrows, letters and flags would change their meaning.
    """
    count = len(pictures)
    rgba = pictures.permute(0, 3, 1, 2).float() / 255
    if one_colour is not None:
        painted = torch.rand(int(one_colour.sum()), 3, 1, 1, generator=rng) ** 2
        rgba[one_colour, :3] = painted.expand(-1, 3, *rgba.shape[2:])
    # Premultiplied, so that the hidden colour of transparent pixels does not affect the edges.
    rgba = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)
    grid = F.affine_grid(_places(count, rng, strength), [count, 4, side, side], align_corners=False)
    moved = F.grid_sample(rgba, grid, align_corners=False)
    out = moved[:, :3] + _backgrounds(count, side, rng) * (1 - moved[:, 3:])
    out = _colours(out, rng, strength)
    soft = torch.nonzero(torch.rand(count, generator=rng) < 0.2 * strength).flatten()
    if len(soft):
        out[soft] = F.avg_pool2d(F.pad(out[soft], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    noisy = torch.nonzero(torch.rand(count, generator=rng) < 0.2 * strength).flatten()
    if len(noisy):
        out[noisy] = (out[noisy] + torch.randn(out[noisy].shape, generator=rng) * 0.04).clamp(0, 1)
    return out


def shrunk(pictures: np.ndarray, side: int) -> Tensor:
    """Cached drawings at the training resolution, uint8 [N, side, side, 4]; done once, so that views are cheap."""
    parts = []
    for start in range(0, len(pictures), 1024):  # the memory-mapped file of drawings is larger than the result
        part = torch.from_numpy(np.array(pictures[start : start + 1024])).permute(0, 3, 1, 2).float()
        small = F.interpolate(part, (side, side), mode="bilinear", antialias=True)
        parts.append(small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous())
    return torch.cat(parts)


def plain_views(pictures: Tensor, side: int) -> Tensor:
    """The pictures as an evaluation sees them: on white, resized, nothing random; float [B, 3, side, side]."""
    rgba = pictures.permute(0, 3, 1, 2).float() / 255
    white = rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
    return F.interpolate(white, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
