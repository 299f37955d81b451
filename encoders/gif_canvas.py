"""A GIF whose first frame covers only a part of the canvas: what is shown around it."""

from __future__ import annotations

from PIL import Image


def on_background(frame: Image.Image, drawn: tuple[int, int, int, int], gif: bytes) -> Image.Image:
    """RGB. The background is the colour that the header names in the palette for all frames, as FFmpeg shows it, and
    white without such a palette; Pillow takes the first colour of the frame's own palette. drawn: left, top, right and
    bottom of the frame."""
    colour = (255, 255, 255)
    if gif[10] & 0x80 and gif[11] < 2 << (gif[10] & 7):
        start = 13 + 3 * gif[11]
        colour = (gif[start], gif[start + 1], gif[start + 2])
    canvas = Image.new("RGB", frame.size, colour)
    canvas.paste(frame.convert("RGB").crop(drawn), drawn[:2])
    return canvas
