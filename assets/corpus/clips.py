"""How clips are drawn: emoji that move over painted backgrounds."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from film import RATE_HZ, Recording
from pictures import gradient, scene
from PIL import Image, ImageDraw, ImageOps
from sources import Library

# Frames are drawn at twice their size and halved, so that slow movements do not jump from pixel to pixel.
FINE = 2
Key = tuple[
    float, float, float, float, float
]  # seconds, x and y of the middle, height (shares of the frame's height), degrees


@dataclass(frozen=True)
class Sprite:
    """One emoji and its path; between two keys it moves with soft starts and ends, before the first and after the last
    it does not move."""

    name: str
    keys: list[Key]
    flipped: bool = False
    bob: float = 0.0
    bob_hz: float = 1.0

    def at(self, time_s: float) -> tuple[float, float, float, float]:
        before = max((key for key in self.keys if key[0] <= time_s), default=self.keys[0], key=lambda key: key[0])
        after = min((key for key in self.keys if key[0] > time_s), default=before, key=lambda key: key[0])
        share = (time_s - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
        soft = share * 0.6 + 0.4 * share * share * (3 - 2 * share)
        x, y, height, angle = (b + (a - b) * soft for b, a in zip(before[1:], after[1:], strict=True))
        return x, y + self.bob * math.sin(2 * math.pi * self.bob_hz * time_s), height, angle


@dataclass(frozen=True)
class Clip:
    """A drawn clip: what it shows, how it is stored, its background and its sprites."""

    slug: str
    group: str
    caption: str
    style: str
    recording: Recording
    seconds: float
    ground: str
    sprites: list[Sprite]
    size: tuple[int, int] = (320, 180)
    fps: float = 24
    pan: float = 0.0
    zoom: float = 0.0
    uneven: bool = False
    sound: str = ""

    def times(self) -> list[float]:
        """The frames' times in seconds; an uneven clip shows some frames up to eight times as long as others."""
        if not self.uneven:
            return [index / self.fps for index in range(round(self.seconds * self.fps))]
        rng, times = random.Random(self.slug), [0.0]
        while times[-1] < self.seconds:
            times.append(round(times[-1] + rng.choice([0.025, 0.025, 0.033, 0.04, 0.04, 0.067, 0.1, 0.2]), 3))
        return times

    def frames(self, library: Library) -> Iterator[Image.Image]:
        width, height = self.size[0] * FINE, self.size[1] * FINE
        icons: dict[str, Image.Image] = {
            sprite.name: library.icon(self.style, sprite.name, 512) for sprite in self.sprites
        }
        wide = painted(self.ground, (int(width * (1 + self.pan)), height), random.Random(self.slug))
        for time_s in self.times():
            share = time_s / self.seconds
            left = int((wide.width - width) * share)
            frame = wide.crop((left, 0, left + width, height))
            for sprite in self.sprites:
                x, y, tall, angle = sprite.at(time_s)
                side = max(2, round(tall * height))
                icon = icons[sprite.name].resize((side, side), Image.Resampling.BILINEAR)
                icon = ImageOps.mirror(icon) if sprite.flipped else icon
                icon = icon.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else icon
                frame.paste(icon, (round(x * height - icon.width / 2), round(y * height - icon.height / 2)), icon)
            if self.zoom:
                cut = self.zoom * share / 2
                box = (width * cut, height * cut, width * (1 - cut), height * (1 - cut))
                frame = frame.resize((width, height), Image.Resampling.BILINEAR, box=box)
            yield frame.resize(self.size, Image.Resampling.BOX)


def painted(name: str, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A background for a clip: the scenes of the pictures and a few wider ones."""
    width, height = size
    draw: ImageDraw.ImageDraw
    if name == "city":
        image = gradient(size, (150, 200, 240), (240, 230, 214))
        draw = ImageDraw.Draw(image)
        for depth, colour in ((0.62, (176, 188, 204)), (0.44, (132, 144, 166))):
            x = 0
            while x < width:
                wide, tall = rng.randint(height // 8, height // 4), int(height * depth * rng.uniform(0.6, 1.0))
                top = int(height * 0.72) - tall
                draw.rectangle((x, top, x + wide - 6, height), fill=colour)
                for window_x in range(x + 10, x + wide - 20, 24):
                    for window_y in range(top + 12, int(height * 0.7), 30):
                        if rng.random() < 0.7:
                            draw.rectangle((window_x, window_y, window_x + 9, window_y + 13), fill=(246, 236, 180))
                x += wide
        draw.rectangle((0, int(height * 0.72), width, height), fill=(96, 100, 108))
        for x in range(0, width, height // 4):
            draw.rectangle((x, int(height * 0.9), x + height // 8, int(height * 0.92)), fill=(240, 240, 230))
        return image
    if name == "mountains":
        image = gradient(size, (126, 184, 240), (232, 240, 248))
        draw = ImageDraw.Draw(image)
        for base, colour in ((0.25, (150, 166, 196)), (0.42, (98, 126, 140))):
            x = -height // 2
            while x < width:
                wide = rng.randint(height // 2, height)
                peak = height * (base + rng.uniform(0, 0.15))
                draw.polygon([(x, height), (x + wide / 2, peak), (x + wide, height)], fill=colour)
                x += wide // 2
        draw.rectangle((0, int(height * 0.78), width, height), fill=(104, 160, 84))
        draw.rectangle((0, int(height * 0.86), width, int(height * 0.885)), fill=(92, 80, 72))
        return image
    if name == "storm":
        image = gradient(size, (44, 50, 70), (112, 122, 142))
        ImageDraw.Draw(image).rectangle((0, int(height * 0.85), width, height), fill=(44, 74, 52))
        return image
    if name == "party":
        image = gradient(size, (252, 214, 226), (250, 240, 200))
        draw = ImageDraw.Draw(image)
        for _ in range(90):
            x, y = rng.randint(0, width), rng.randint(0, height)
            draw.rectangle(
                (x, y, x + 9, y + 6), fill=rng.choice([(236, 96, 110), (90, 160, 230), (246, 190, 70), (110, 190, 120)])
            )
        return image
    if name in ("cream", "teal"):
        return gradient(
            size, *{"cream": ((252, 244, 224), (240, 220, 186)), "teal": ((190, 232, 226), (110, 182, 186))}[name]
        )
    return scene(name, size, rng)


def one_after_another(names: list[str], each_s: float, x: float = 0.889, height: float = 0.72) -> list[Sprite]:
    """Pictures shown one after another: each grows, stays, and is replaced by the next."""
    sprites = []
    for index, name in enumerate(names):
        start, end = index * each_s, (index + 1) * each_s
        grow = each_s * 0.12
        keys = [
            (start, x, 0.5, 0.0, 0.0),
            (start + grow, x, 0.5, height, 0.0),
            (end - grow, x, 0.5, height, 0.0),
            (end, x, 0.5, 0.0, 0.0),
        ]
        sprites.append(Sprite(name, keys))
    return sprites


def rise(name: str, x: float, start_s: float, seconds: float, height: float, sway: float = 0.0) -> Sprite:
    """Something that rises from below the frame to above it."""
    return Sprite(name, [(start_s, x, 1 + height, height, 0), (start_s + seconds, x + sway, -height, height, 0)])


def fall(name: str, x: float, start_s: float, seconds: float, height: float) -> Sprite:
    """Something that falls through the frame."""
    return Sprite(name, [(start_s, x, -height, height, 0), (start_s + seconds, x - 0.1, 1 + height, height, 0)])


def tune(kind: str, seconds: float) -> np.ndarray:
    """A short sound: a rumble, a melody or chimes; computed, so that no recording is needed."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    if kind == "rumble":
        noise = np.random.default_rng(7).standard_normal(len(time))
        low = np.convolve(noise, np.ones(160) / 160, mode="same") * 6
        return 0.3 * np.tanh(low) * np.minimum(1, time / 0.5)
    notes = {"melody": [0, 4, 7, 12, 7, 4], "chimes": [12, 7, 9, 4, 5, 0]}[kind]
    sound = np.zeros_like(time)
    for index in range(int(seconds / 0.25)):
        since = time - index * 0.25
        pitch_hz = 330 * 2 ** (notes[index % len(notes)] / 12)
        sound += np.where(
            since >= 0, 0.25 * np.sin(2 * np.pi * pitch_hz * since) * np.exp(-np.maximum(since, 0) * 6), 0
        )
    return sound


def recorded(codec: str, suffix: str, **more: int | bool) -> Recording:
    return Recording(codec, suffix, **more)  # type: ignore[arg-type]
