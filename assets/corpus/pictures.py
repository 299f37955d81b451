"""Draws the still pictures: a subject on a plain, gradient or painted background, stored in the formats that "
"catalogues hold."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "white": (252, 252, 250), "light grey": (214, 218, 222), "dark grey": (62, 66, 74), "pale yellow": (253, 240, 178),
    "orange": (245, 160, 75), "pink": (248, 190, 206), "red": (206, 62, 60), "light blue": (170, 212, 244),
    "blue": (52, 104, 190), "mint green": (178, 230, 204), "dark green": (38, 98, 66), "purple": (120, 84, 170),
    "beige": (234, 220, 196), "brown": (134, 96, 66),
}  # fmt: skip

# The painted backgrounds that suit each group; a group without one gets only plain colours and gradients.
SCENES = {
    "animals": ["meadow", "snow", "desert"], "sea life": ["sea"], "fruit and vegetables": ["table"], "meals": ["table"],
    "sweets and drinks": ["table"], "transport": ["road"], "weather": ["sky"], "plants": ["meadow"], "sport": ["pitch"],
    "music": ["stage"], "tools": ["table"], "buildings": ["meadow", "sunset"], "space": ["night"],
}  # fmt: skip
SCENE_WORDS = {
    "meadow": "on a green meadow under a blue sky",
    "snow": "in the snow",
    "desert": "in a sandy desert",
    "sea": "under water",
    "ocean": "on the sea",
    "table": "on a wooden table",
    "road": "on a grey road",
    "sky": "in a blue sky",
    "pitch": "on a striped grass pitch",
    "stage": "on a dark stage with a spotlight",
    "sunset": "at sunset",
    "night": "in a starry night sky",
}

# Things that do not suit the backgrounds of their group.
SCENES_OF_THINGS = {
    "airplane": ["sky"], "helicopter": ["sky"], "rocket": ["sky", "night"], "pallone_aerestatico_arch_01": ["sky"],
    "sailboat": ["ocean"], "ship": ["ocean"], "speedboat": ["ocean"], "sailboat_illustration": ["ocean"],
    "home10": ["snow"], "cactus": ["desert"], "seal": ["ocean", "snow"], "penguin": ["snow"], "koala": ["meadow"],
}  # fmt: skip


def gradient(size: tuple[int, int], top: Colour, bottom: Colour, diagonal: bool = False) -> Image.Image:
    """A smooth background from one colour to another."""
    width, height = size
    y = np.linspace(0, 1, height)[:, None]
    x = np.linspace(0, 1, width)[None, :]
    share = ((x + y) / 2 if diagonal else y + 0 * x)[..., None]
    return Image.fromarray((np.array(top) * (1 - share) + np.array(bottom) * share).round().astype(np.uint8))


def scene(name: str, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A painted background of some size."""
    width, height = size
    horizon = int(height * rng.uniform(0.56, 0.68))

    def land(sky: tuple[Colour, Colour], ground: tuple[Colour, Colour]) -> Image.Image:
        image = gradient(size, *sky)
        hill = ImageDraw.Draw(image)
        for _ in range(3):
            x, radius = rng.randint(0, width), rng.randint(width // 4, width // 2)
            shade = tuple(int(channel * 0.9) for channel in ground[0])
            hill.ellipse((x - radius, horizon - radius // 4, x + radius, horizon + radius), fill=shade)
        image.paste(gradient((width, height - horizon), *ground), (0, horizon))
        return image

    if name == "meadow":
        return land(((120, 186, 242), (214, 238, 252)), ((132, 196, 92), (84, 154, 62)))
    if name == "snow":
        return land(((150, 176, 206), (222, 232, 242)), ((246, 248, 252), (216, 226, 238)))
    if name == "desert":
        return land(((126, 190, 240), (250, 236, 206)), ((238, 206, 142), (220, 176, 104)))
    if name == "sunset":
        return land(((88, 68, 138), (250, 166, 104)), ((92, 96, 66), (58, 66, 50)))
    if name == "road":
        image = land(((140, 198, 244), (226, 240, 250)), ((122, 126, 132), (88, 92, 98)))
        draw = ImageDraw.Draw(image)
        y, dash = horizon + int((height - horizon) * 0.75), max(10, width // 12)
        for x in range(-dash // 2, width, dash * 2):
            draw.rectangle((x, y, x + dash, y + max(3, height // 50)), fill=(240, 240, 232))
        return image
    if name == "sea":
        image = gradient(size, (84, 186, 216), (14, 66, 124))
        draw = ImageDraw.Draw(image)
        for _ in range(14):
            x, y, radius = rng.randint(0, width), rng.randint(0, height), rng.randint(2, max(4, width // 40))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(196, 232, 244), width=2)
        return image
    if name == "table":
        image = gradient(size, *rng.choice([((246, 238, 222), (232, 218, 192)), ((206, 222, 230), (184, 206, 218))]))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, horizon, width, height), fill=(166, 114, 68))
        for y in range(horizon, height, max(10, height // 14)):
            draw.line((0, y, width, y), fill=(140, 92, 52), width=2)
        return image
    if name == "sky":
        image = gradient(size, (92, 166, 234), (206, 232, 250))
        draw = ImageDraw.Draw(image)
        for _ in range(4):
            x, y, radius = rng.randint(0, width), rng.randint(0, height), width // rng.randint(9, 14)
            for shift in (-radius, 0, radius):
                draw.ellipse(
                    (x + shift - radius, y - radius // 2, x + shift + radius, y + radius // 2), fill=(238, 245, 252)
                )
        return image.filter(ImageFilter.GaussianBlur(2))
    if name == "pitch":
        image = Image.new("RGB", size, (88, 164, 80))
        draw = ImageDraw.Draw(image)
        for x in range(0, width, max(24, width // 6)):
            draw.rectangle((x, 0, x + max(12, width // 12), height), fill=(76, 148, 70))
        draw.line((0, height // 6, width, height // 6), fill=(240, 246, 240), width=max(2, height // 90))
        return image
    if name == "ocean":
        image = gradient(size, (150, 206, 246), (236, 244, 250))
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, int(height * 0.6), width, height), fill=(24, 84, 140))
        for row in range(5):
            y = height * (0.63 + 0.08 * row)
            for x in range(rng.randint(-60, 0), width, 90):
                draw.arc((x, y, x + 60, y + 16), 200, 340, fill=(92, 150, 200), width=4)
        return image
    if name == "stage":
        y, x = np.mgrid[0:height, 0:width]
        light = np.exp(-(((x - width / 2) / (width * 0.38)) ** 2 + ((y - height / 2) / (height * 0.45)) ** 2))[
            ..., None
        ]
        return Image.fromarray(
            (np.array((34, 22, 48)) + light * np.array((150, 120, 96))).clip(0, 255).astype(np.uint8)
        )
    if name == "night":
        image = gradient(size, (10, 12, 40), (48, 44, 96))
        draw = ImageDraw.Draw(image)
        for _ in range(70):
            x, y, radius = rng.randint(0, width), rng.randint(0, height), rng.choice((0, 1, 1, 2))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(236, 236, 214))
        return image
    raise ValueError(f"no scene is called {name!r}")


def ground(
    group: str, name: str, size: tuple[int, int], rng: random.Random, subject: Image.Image
) -> tuple[Image.Image, str]:
    """A background for a picture of this group, and the words that describe it."""
    scenes = SCENES_OF_THINGS.get(name, SCENES.get(group, []))
    kinds = ["plain", "gradient", "gradient"] + (["scene"] * 4 if scenes else ["plain"])
    kind = rng.choice(kinds)
    if kind == "scene":
        chosen = rng.choice(scenes)
        return scene(chosen, size, rng), SCENE_WORDS[chosen]
    # A background near the subject's mean colour would hide it: use the two most different of five colours.
    pixels = np.asarray(subject.resize((32, 32)).convert("RGBA"), dtype=np.float64)
    mean = (pixels[..., :3] * pixels[..., 3:]).sum((0, 1)) / max(1.0, pixels[..., 3].sum())
    candidates = rng.sample(sorted(COLOURS), 5)
    candidates.sort(key=lambda colour: -float(np.abs(np.array(COLOURS[colour]) - mean).sum()))
    first, second = candidates[:2]
    if kind == "plain":
        return Image.new("RGB", size, COLOURS[first]), f"on a {first} background"
    return (
        gradient(size, COLOURS[first], COLOURS[second], diagonal=rng.random() < 0.4),
        f"on a background that fades from {first} to {second}",
    )


def canvas_size(rng: random.Random, aspect: float) -> tuple[int, int]:
    """A size of 192 to 512 pixels on the long side."""
    long_side = rng.choice([192, 224, 256, 320, 384, 448, 512])
    return (long_side, round(long_side / aspect)) if aspect >= 1 else (round(long_side * aspect), long_side)


def paste(canvas: Image.Image, drawing: Image.Image, box: tuple[int, int, int, int], shadow: bool = True) -> None:
    """Fits a drawing into a box of the canvas, aspect ratio kept, over a soft shadow."""
    left, top, right, bottom = box
    fitted = ImageOps.contain(drawing, (right - left, bottom - top), Image.Resampling.LANCZOS)
    x, y = left + (right - left - fitted.width) // 2, top + (bottom - top - fitted.height) // 2
    if shadow:
        offset = max(2, fitted.height // 40)
        dark = Image.new("RGBA", canvas.size)
        dark.paste((0, 0, 0, 70), (x + offset, y + offset), fitted.getchannel("A"))
        canvas.paste(dark, (0, 0), dark.filter(ImageFilter.GaussianBlur(offset)))
    canvas.paste(fitted, (x, y), fitted)


def one(group: str, name: str, drawing: Image.Image, rng: random.Random) -> tuple[Image.Image, str]:
    """A picture of one complete thing, and the words for its background."""
    width, height = canvas_size(rng, rng.choice([1, 1, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3]))
    image, words = ground(group, name, (width, height), rng, drawing)
    share = rng.uniform(0.62, 0.86)
    side = int(min(width, height) * share)
    x, y = rng.randint(2, width - side - 2), rng.randint(2, height - side - 2)
    paste(image, drawing, (x, y, x + side, y + side), shadow=rng.random() < 0.5)
    return image, words


def several(group: str, name: str, drawings: list[Image.Image], rng: random.Random) -> tuple[Image.Image, str]:
    """A picture of several things from left to right, and the words for its background."""
    count = len(drawings)
    width, height = canvas_size(rng, {2: 3 / 2, 3: 16 / 9}[count])
    image, words = ground(group, name, (width, height), rng, drawings[0])
    cell = width // count
    for index, drawing in enumerate(drawings):
        side = int(min(cell * 0.94, height * 0.8) * rng.uniform(0.82, 1.0))
        x, y = index * cell + (cell - side) // 2, rng.randint(int((height - side) * 0.35), int((height - side) * 0.75))
        paste(image, drawing, (x, y, x + side, y + side))
    return image, words


def full(drawing: Image.Image, rng: random.Random) -> Image.Image:
    """A drawing with a narrow white margin, in its own aspect ratio."""
    long_side = rng.choice([256, 320, 384])
    fitted = ImageOps.contain(drawing, (long_side, long_side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (fitted.width + 16, fitted.height + 16), "white")
    canvas.paste(fitted, (8, 8), fitted)
    return canvas


def cut_out(drawing: Image.Image, rng: random.Random) -> Image.Image:
    """The drawing alone on a transparent background, like product pictures of shops."""
    side = rng.choice([192, 256, 320])
    canvas = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    fitted = ImageOps.contain(drawing, (side - 12, side - 12), Image.Resampling.LANCZOS)
    canvas.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2), fitted)
    return canvas


def store(image: Image.Image, path: Path, form: str) -> Path:
    """Writes a picture in one of the formats; returns the path with its suffix."""
    path = path.with_suffix(
        {"webp-alpha": ".webp", "png-palette": ".png", "png-alpha": ".png"}.get(form, "." + form.partition("-")[0])
    )
    if form.startswith("webp"):
        image.save(path, quality=82, method=6)
    elif form == "avif":
        image.save(path, quality=68, speed=6, max_threads=1)
    elif form == "gif":
        image.quantize(128, dither=Image.Dither.NONE).save(path)
    elif form in ("png", "png-palette"):
        # Gradients in full-colour PNG are large; callers use the plain format only for small pictures.
        (image.quantize(128, dither=Image.Dither.NONE) if form == "png-palette" else image).save(path, optimize=True)
    elif form == "png-alpha":
        image.save(path, optimize=True)
    elif form == "jpg":
        image.save(path, quality=84, optimize=True)
    elif form == "jpg-cmyk":
        image.convert("CMYK").save(path, quality=84)
    elif form == "jpg-exif":
        # Stored rotated by 90 degrees, with the tag that makes a viewer show it upright.
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(path, quality=84, exif=exif)
    else:
        raise ValueError(f"no form is called {form!r}")
    return path
