"""The drawn clips: emoji that move over painted grounds, each described by who moves where and when."""

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
    """One emoji and its way; between two keys it moves evenly with soft ends, before the first and after the "
    "last it rests."""

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
    """A drawn clip: what it shows, how it is stored, its ground and who moves."""

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
        """The frames' times in seconds; an uneven clip holds some frames up to eight times as long as others."""
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
    """A ground for a clip: the pictures' scenes and a few wider ones."""
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
    """A row of pictures shown in turn: each grows in, stands, and makes way for the next."""
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
    """A little sound: a rumble, a melody or chimes; computed, so that it is nobody's recording."""
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


# The frame is 1.78 heights wide: x runs from 0 to 1.78, y from 0 to 1.
CLIPS: list[Clip] = [
    Clip(
        "rocket-flies-to-the-moon",
        "space",
        "A rocket takes off and flies through the night sky to the moon.",
        "noto",
        recorded("h264", ".mp4"),
        5,
        "night",
        [
            Sprite("full-moon", [(0, 1.45, 0.26, 0.34, 0), (5, 1.4, 0.3, 0.44, 0)]),
            Sprite("rocket", [(0, 0.1, 1.1, 0.5, 0), (4.4, 1.2, 0.46, 0.22, 0), (5, 1.28, 0.4, 0.16, 0)]),
        ],
        sound="rumble",
    ),
    Clip(
        "fish-swim-past-corals",
        "sea life",
        "A tropical fish and a blowfish swim past corals while an octopus looks on.",
        "twemoji",
        recorded("h264", ".mp4"),
        5,
        "sea",
        [
            Sprite("octopus", [(0, 1.4, 0.72, 0.34, 0)], bob=0.02, bob_hz=0.6),
            Sprite("coral", [(0, 0.35, 0.82, 0.4, 0), (5, 0.25, 0.82, 0.4, 0)]),
            Sprite("coral", [(0, 1.0, 0.86, 0.3, 0), (5, 0.9, 0.86, 0.3, 0)]),
            Sprite("tropical-fish", [(0, 2.0, 0.35, 0.34, 0), (5, -0.2, 0.3, 0.34, 0)], bob=0.04),
            Sprite("blowfish", [(0.5, 2.4, 0.62, 0.26, 0), (5, 0.3, 0.58, 0.26, 0)], bob=0.03, bob_hz=0.7),
        ],
        pan=0.2,
    ),
    Clip(
        "car-drives-through-the-city",
        "transport",
        "A red car drives through the city; a bus comes the other way.",
        "twemoji",
        recorded("hevc", ".mp4"),
        4.5,
        "city",
        [
            Sprite("bus", [(0, -0.6, 0.72, 0.4, 0), (4.5, 2.4, 0.72, 0.4, 0)], flipped=True),
            Sprite("automobile", [(0, 1.5, 0.8, 0.42, 0), (4.5, 0.5, 0.8, 0.42, 0)], bob=0.006, bob_hz=4),
        ],
        pan=0.9,
    ),
    Clip(
        "train-crosses-the-mountains",
        "transport",
        "A steam locomotive pulls two carriages past the mountains.",
        "noto",
        recorded("vp9", ".webm"),
        5,
        "mountains",
        [
            Sprite("locomotive", [(0, 1.5, 0.72, 0.34, 0), (5, 0.1, 0.72, 0.34, 0)]),
            Sprite("railway-car", [(0, 1.84, 0.73, 0.32, 0), (5, 0.44, 0.73, 0.32, 0)]),
            Sprite("railway-car", [(0, 2.15, 0.73, 0.32, 0), (5, 0.75, 0.73, 0.32, 0)]),
        ],
        pan=0.5,
        sound="rumble",
    ),
    Clip(
        "sun-crosses-the-sky",
        "weather",
        "The sun rises over the mountains, crosses the sky and sets; a cloud drifts by.",
        "noto",
        recorded("h264", ".mkv", key_frame_every=600),
        11,
        "mountains",
        [
            Sprite(
                "sun",
                [
                    (0, 0.1, 0.8, 0.3, 0),
                    (3, 0.5, 0.3, 0.3, 30),
                    (5.5, 0.89, 0.2, 0.3, 60),
                    (8, 1.3, 0.3, 0.3, 90),
                    (11, 1.7, 0.8, 0.3, 120),
                ],
            ),
            Sprite("cloud", [(0, 2.0, 0.3, 0.3, 0), (11, -0.1, 0.25, 0.3, 0)]),
            Sprite("ewe", [(0, 0.5, 0.84, 0.16, 0), (11, 0.9, 0.84, 0.16, 0)], flipped=True),
        ],
        fps=25,
    ),
    Clip(
        "soccer-ball-into-the-goal",
        "sport",
        "A soccer ball rolls across the pitch and flies into the goal.",
        "twemoji",
        recorded("av1", ".webm"),
        3.5,
        "pitch",
        [
            Sprite("goal-net", [(0, 1.4, 0.5, 0.62, 0)]),
            Sprite(
                "soccer-ball",
                [
                    (0, 0.1, 0.8, 0.2, 0),
                    (1.5, 0.7, 0.75, 0.2, -360),
                    (2.6, 1.4, 0.5, 0.15, -640),
                    (3.0, 1.4, 0.66, 0.15, -660),
                ],
            ),
        ],
    ),
    Clip(
        "balloons-rise",
        "sweets and drinks",
        "Red balloons rise into a blue sky; filmed upright.",
        "twemoji",
        recorded("h264", ".mp4", rotated=True),
        4,
        "sky",
        [
            rise("balloon", 0.12, -1.2, 3.6, 0.2, 0.03),
            rise("balloon", 0.28, -0.4, 3.8, 0.26, -0.04),
            rise("balloon", 0.44, -0.8, 3.4, 0.18, 0.02),
            rise("balloon", 0.36, 1.6, 3.0, 0.22),
            rise("balloon", 0.16, 1.9, 2.8, 0.2),
        ],
        size=(180, 320),
    ),
    Clip(
        "butterfly-over-tulips",
        "plants",
        "A butterfly flutters from tulip to tulip on a meadow.",
        "noto",
        recorded("h264", ".mp4"),
        5,
        "meadow",
        [Sprite("tulip", [(0, x, 0.74, 0.4, 0)]) for x in (0.35, 0.9, 1.45)]
        + [
            Sprite(
                "butterfly",
                [
                    (0, 0.0, 0.2, 0.24, 0),
                    (1.2, 0.35, 0.5, 0.24, 10),
                    (2.6, 0.9, 0.5, 0.24, -10),
                    (4, 1.45, 0.5, 0.24, 10),
                    (5, 1.8, 0.15, 0.24, 0),
                ],
                bob=0.05,
                bob_hz=2,
            )
        ],
        uneven=True,
    ),
    Clip(
        "birthday-party",
        "sweets and drinks",
        "A birthday cake with presents and balloons at a party.",
        "twemoji",
        recorded("h264", ".mov"),
        4,
        "party",
        [
            Sprite("birthday-cake", [(0, 0.89, 0.6, 0.5, 0), (4, 0.89, 0.58, 0.62, 0)]),
            Sprite("wrapped-gift", [(0, -0.2, 0.78, 0.3, 0), (1.2, 0.35, 0.78, 0.3, 0)]),
            Sprite("wrapped-gift", [(0, 2.0, 0.78, 0.26, 0), (1.6, 1.42, 0.78, 0.26, 0)]),
            rise("balloon", 0.3, 1.0, 3.4, 0.3),
            rise("balloon", 1.5, 0.4, 3.6, 0.34),
        ],
        sound="melody",
    ),
    Clip(
        "fruit-one-after-another",
        "fruit and vegetables",
        "Fruit shown one after another: an apple, a banana, cherries, a strawberry and a pineapple.",
        "noto",
        recorded("hevc", ".mkv"),
        5,
        "table",
        one_after_another(["red-apple", "banana", "cherries", "strawberry", "pineapple"], 1.0),
    ),
    Clip(
        "thunderstorm",
        "weather",
        "A thunderstorm: dark clouds gather, lightning flashes and rain falls on a house.",
        "twemoji",
        recorded("vp9", ".webm"),
        4,
        "storm",
        [Sprite("house", [(0, 0.9, 0.76, 0.34, 0)])]
        + [fall("droplet", 0.2 + 0.23 * (index * 5 % 7), 0.4 + 0.35 * index, 1.0, 0.09) for index in range(10)]
        + [
            Sprite("cloud-with-lightning", [(0, -0.3, 0.24, 0.44, 0), (2, 0.55, 0.24, 0.5, 0), (4, 0.7, 0.24, 0.5, 0)]),
            Sprite("cloud-with-rain", [(0, 2.1, 0.22, 0.4, 0), (2, 1.35, 0.24, 0.46, 0), (4, 1.25, 0.24, 0.46, 0)]),
        ],
    ),
    Clip(
        "penguins-in-the-snow",
        "animals",
        "Two penguins waddle through falling snow past a snowman.",
        "noto",
        recorded("hevc", ".mov"),
        4.5,
        "snow",
        [
            Sprite("snowman", [(0, 1.3, 0.62, 0.5, 0), (4.5, 1.0, 0.62, 0.5, 0)]),
            Sprite(
                "penguin",
                [
                    (0, 0.1, 0.74, 0.36, 6),
                    (1, 0.3, 0.74, 0.36, -6),
                    (2, 0.5, 0.74, 0.36, 6),
                    (3, 0.7, 0.74, 0.36, -6),
                    (4.5, 0.95, 0.74, 0.36, 6),
                ],
            ),
            Sprite(
                "penguin",
                [
                    (0, -0.3, 0.78, 0.3, -6),
                    (1, -0.1, 0.78, 0.3, 6),
                    (2, 0.1, 0.78, 0.3, -6),
                    (3, 0.3, 0.78, 0.3, 6),
                    (4.5, 0.5, 0.78, 0.3, -6),
                ],
            ),
        ]
        + [fall("snowflake", 0.15 + 0.25 * (index * 4 % 7), 0.3 * index, 2.4, 0.08) for index in range(9)],
        pan=0.3,
    ),
    Clip(
        "flight-to-a-ringed-planet",
        "space",
        "The camera flies towards a planet with rings while a satellite drifts past.",
        "twemoji",
        recorded("av1", ".mp4"),
        4,
        "night",
        [
            Sprite("ringed-planet", [(0, 0.89, 0.5, 0.25, 0), (4, 0.89, 0.5, 0.8, 12)]),
            Sprite("satellite", [(0, -0.1, 0.8, 0.3, 0), (4, 2.0, 0.2, 0.22, 40)]),
        ],
        zoom=0.3,
    ),
    Clip(
        "band-plays",
        "music",
        "A drum, a guitar and a trumpet play; musical notes rise from them.",
        "noto",
        recorded("vp9", ".mkv"),
        4,
        "stage",
        [
            Sprite("drum", [(0, 0.4, 0.66, 0.4, 0)], bob=0.03, bob_hz=2),
            Sprite("guitar", [(0, 0.9, 0.6, 0.5, 0)], bob=0.03, bob_hz=1),
            Sprite("trumpet", [(0, 1.4, 0.66, 0.4, 0)], bob=0.03, bob_hz=1.5),
            rise("musical-note", 0.6, 0, 2.6, 0.16),
            rise("musical-notes", 1.15, 0.6, 2.6, 0.2),
            rise("musical-note", 0.3, 1.6, 2.4, 0.16),
        ],
        sound="chimes",
    ),
    Clip(
        "ship-meets-a-whale",
        "transport",
        "A ship sails over the sea and meets a spouting whale.",
        "twemoji",
        recorded("h264", ".mov"),
        4.5,
        "ocean",
        [
            Sprite("ship", [(0, 1.7, 0.5, 0.42, 0), (4.5, 1.0, 0.52, 0.46, 0)], bob=0.015, bob_hz=0.6),
            Sprite(
                "spouting-whale",
                [(0, 0.3, 1.2, 0.4, 0), (2, 0.4, 0.74, 0.4, 0), (4.5, 0.5, 0.76, 0.4, 0)],
                bob=0.015,
                bob_hz=0.5,
            ),
        ],
        pan=0.2,
    ),
    Clip(
        "faces-change",
        "faces",
        "A face changes its mood: happy, laughing, crying, angry, asleep.",
        "twemoji",
        recorded("h264", ".mp4"),
        5,
        "cream",
        one_after_another(
            ["grinning-face", "face-with-tears-of-joy", "crying-face", "angry-face", "sleeping-face"], 1.0
        ),
        size=(240, 136),
    ),
    Clip(
        "hammer-and-wrench",
        "tools",
        "A hammer strikes a few times; a wrench turns beside it.",
        "twemoji",
        recorded("hevc", ".mp4"),
        3,
        "teal",
        [
            Sprite(
                "hammer",
                [
                    (0, 0.55, 0.45, 0.55, 0),
                    (0.5, 0.55, 0.52, 0.55, 50),
                    (1, 0.55, 0.45, 0.55, 0),
                    (1.5, 0.55, 0.52, 0.55, 50),
                    (2, 0.55, 0.45, 0.55, 0),
                    (2.5, 0.55, 0.52, 0.55, 50),
                    (3, 0.55, 0.45, 0.55, 0),
                ],
            ),
            Sprite("wrench", [(0, 1.25, 0.5, 0.5, 0), (3, 1.25, 0.5, 0.5, -300)]),
        ],
    ),
]
