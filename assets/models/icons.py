"""Named drawings from icon sets: which names say what is drawn, and the SVG of each.

Most icons are signs for functions of a program. Only pictures of things are kept: animals, tools, food, plants,
buildings, people, vehicles.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from concepts import LIKE_HELD_OUT, mentions
from words import WordNet

# How an icon is drawn, not what it shows.
MANNER = {
    "outline", "outlined", "filled", "fill", "bold", "thin", "light", "duotone", "line", "linear", "broken",
    "solid", "sharp", "rounded", "round", "flat", "duo", "alt", "remix", "twotone", "regular", "negative",
    "variant", "px",
}  # fmt: skip
# A name with one of these is a sign for a function, or shows a thing in a state that the rest of the name does not say.
FUNCTION = {
    "off", "add", "remove", "plus", "minus", "arrow", "arrows", "edit", "search", "check", "cancel", "close",
    "delete", "sync", "download", "upload", "share", "settings", "setting", "cog", "alert", "warning", "question",
    "user", "account", "file", "document", "page", "data", "code", "network", "browser", "window", "app",
    "application", "button", "cursor", "message", "chat", "mail", "email", "text", "font", "align", "border",
    "layout", "format", "table", "chart", "graph", "list", "menu", "grid", "filter", "sort", "square", "circle",
    "hexagon", "octagon", "rectangle", "triangle", "shape", "logo", "brand", "github", "google", "facebook",
    "currency", "dollar", "euro", "sign", "number", "letter", "alpha", "numeric", "percent", "discount", "marker",
    "pin", "location", "map", "slash", "disabled", "disable", "lock", "unlock", "unlocked", "view", "zoom", "link",
    "unlink", "copy", "cut", "paste", "undo", "redo", "refresh", "reload", "rotate", "flip", "crop", "move",
    "resize", "expand", "collapse", "fullscreen", "battery", "wifi", "signal", "bluetooth", "usb", "sim",
    "playlist", "video", "audio", "volume", "mute", "play", "pause", "stop", "record", "next", "previous",
    "forward", "backward", "fast", "rewind", "shuffle", "repeat", "skip", "up", "down", "left", "right", "top",
    "bottom", "in", "out", "on", "high", "low", "medium", "empty", "half", "full", "open", "closed", "vertical",
    "horizontal", "multiple", "group", "person", "people", "man", "woman", "men", "women", "male", "female", "boy",
    "girl", "symbol", "notification", "notifications", "schedule", "time", "history", "timeline", "circled",
    "overlaid", "regional", "indicator", "medal", "digit", "pride", "extras",
}  # fmt: skip
LONGEST_NAME = 4  # words; longer ones are scenes
PER_CAPTION = 2  # pictures per caption in one set: more are almost copies


def svg_of(icons: dict, name: str) -> str:
    """One icon of an Iconify set as an SVG text."""
    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'
    )


def icon_caption(name: str, net: WordNet, banned: set[str]) -> str:
    """A caption from an icon's name; empty if the name does not say what is drawn or mentions a held-out concept."""
    spelled = [w for w in re.split(r"[^a-z]+", name.lower()) if w]
    words = [w for w in spelled if w not in MANNER]
    if not words or len(words) > LONGEST_NAME or FUNCTION & set(words) or min(map(len, words)) < 3:
        return ""
    caption = " ".join(words)
    shows_a_thing = {caption, words[0], words[-1]} & net.things
    if not shows_a_thing or mentions(" ".join(spelled), banned | LIKE_HELD_OUT):
        return ""
    return caption


def named_icons(package: Path, net: WordNet, banned: set[str]) -> list[tuple[str, str]]:
    """(caption, SVG text) of one icon set's pictures of things, in the set's order."""
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    taken: Counter[str] = Counter()
    found = []
    for name in icons["icons"]:
        caption = icon_caption(name, net, banned)
        if caption and taken[caption] < PER_CAPTION:
            taken[caption] += 1
            found.append((caption, svg_of(icons, name)))
    return found
