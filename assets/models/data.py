"""Build the picture-and-text set once: every style of every concept, clip art and icons, as one uint8 array."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from concepts import FLAG_GROUP, LIKE_HELD_OUT, Concept, load_concepts, mentions, squash
from icons import named_icons, svg_of
from PIL import Image
from sources import EMOJIBASE, ICON_SETS, STYLES, debian_tree, npm_package
from words import WordNet, read_wordnet

SIDE = 112  # pixels of the cached square; larger than the models' input, so that zooming in loses no detail
CLIPART = "openclipart"
# Folders of patterns, parts and toolkit icons, whose names do not say what is drawn.
CLIPART_SKIPPED = (
    "shapes/stars",
    "shapes/jigsaw",
    "shapes/flowchart",
    "special/",
    "computer/icons",
    "computer/buttons",
    "signs_and_symbols/map_symbols",
    "signs_and_symbols/led",
    "logos",
    "buttons",
    "people/stickmen",
)

LARGEST_PIXELS = 40_000_000  # a few drawings are posters of 200 million pixels


@dataclass
class PictureSet:
    """Pictures uint8 [N, SIDE, SIDE, 4] (RGBA, transparent around the drawing) and what each one shows.

    `style[i]` is a style name; `concept[i]` indexes `concepts`, or is -1 for clip art and icons, which have
    `caption[i]`. Where `one_colour[i]`, the drawing is black because its set leaves the colour open.
    """

    pictures: np.ndarray
    style: list[str]
    concept: np.ndarray
    caption: list[str]
    one_colour: np.ndarray
    concepts: list[Concept]
    banned: set[str]

    def rows(self, style: str) -> dict[int, int]:
        """Concept index -> row of its picture in one style."""
        return {int(c): i for i, (s, c) in enumerate(zip(self.style, self.concept, strict=True)) if s == style}


def _fit(picture: Image.Image) -> np.ndarray:
    picture = picture.convert("RGBA")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    canvas.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.asarray(canvas)


def _render_svg(svg: str) -> np.ndarray:
    import resvg_py

    return _fit(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE * 2)))))


def _pixels(path: Path) -> int:
    """Width times height by the PNG header (bytes 16 to 24), without decoding."""
    head = path.read_bytes()[:24]
    return int.from_bytes(head[16:20]) * int.from_bytes(head[20:24])


def _read_png(path: Path) -> np.ndarray:
    return _fit(Image.open(path))


def _names(concepts: list[Concept], packages: dict[str, Path]) -> dict[str, int]:
    """Every spelling of a concept's name that an icon set may use -> concept index."""
    by_code = {c.hexcode: i for i, c in enumerate(concepts)}
    names: dict[str, int] = {}
    for i, concept in enumerate(concepts):
        names.setdefault(squash(concept.label), i)
        codes = concept.hexcode.split("-")
        if len(codes) == 1:
            names.setdefault(squash(unicodedata.name(chr(int(codes[0], 16)), concept.label)), i)
        if concept.group == FLAG_GROUP:
            place = concept.label.removeprefix("flag: ")
            names.setdefault(squash(f"{place} flag"), i)
            names.setdefault(squash(f"flag for {place}"), i)
    for package in packages.values():
        chars = package / "chars.json"
        for code, name in json.loads(chars.read_text()).items() if chars.is_file() else ():
            plain = "-".join(p for p in code.lower().split("-") if p != "fe0f").lstrip("0")
            if plain in by_code:
                names.setdefault(squash(name), by_code[plain])
    return names


def _style_svgs(package: Path, names: dict[str, int]) -> Iterator[tuple[int, str]]:
    """(concept index, SVG text) for each concept that a style draws, in concept order, one drawing each."""
    data = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    icons = data["icons"]
    spellings = [(name, name) for name in icons]
    spellings += [
        (alias, entry["parent"]) for alias, entry in data.get("aliases", {}).items() if set(entry) == {"parent"}
    ]
    chosen: dict[int, str] = {}
    for spelling, name in spellings:
        if squash(spelling) in names and name in icons:
            chosen.setdefault(names[squash(spelling)], name)
    for index in sorted(chosen):
        yield index, svg_of(data, chosen[index])


def clipart_captions(root: Path, net: WordNet, banned: set[str]) -> list[tuple[Path, str]]:
    """Clip art whose cleaned name says what it shows and mentions no held-out concept: (file, caption).

    File names end with a shortened author name; an ending shared by files about different things is treated as one.
    """
    folder = root / "usr" / "share" / "openclipart" / "png"
    files = [
        f for f in sorted(folder.rglob("*.png")) if not f.relative_to(folder).as_posix().startswith(CLIPART_SKIPPED)
    ]
    tokens = {f: [t for t in re.split(r"[^a-z]+", f.stem.lower()) if t] for f in files}
    heads: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for words in tokens.values():
        for k in range(1, min(4, len(words))):
            heads[tuple(words[-k:])].add(words[0])
    known = {word for phrase in net.synonyms for word in phrase.split()}
    found = []
    for file in files:
        words = tokens[file]
        for k in range(min(4, len(words) - 1), 0, -1):
            if len(heads[tuple(words[-k:])]) >= 3:
                words = words[:-k]
                break
        words = [w for w in dict.fromkeys(words) if w in known and len(w) > 2]
        places = [p for p in file.relative_to(folder).parent.parts if p != "unsorted"]
        caption = " ".join(words[:5])
        everything = " ".join([file.stem, *places, caption]).replace("_", " ")
        if caption and not mentions(everything, banned | LIKE_HELD_OUT) and _pixels(file) < LARGEST_PIXELS:
            kind = places[-1].replace("_", " ") if places else ""
            found.append((file, f"{caption}, {kind}" if kind else caption))
    return found


def load_words(work: Path) -> tuple[WordNet, list[Concept], set[str]]:
    """WordNet, the concepts and the excluded phrases; fast enough for every script to read them again."""
    net = read_wordnet(debian_tree(work))
    concepts, banned = load_concepts(npm_package(work, *EMOJIBASE), net.synonyms)
    return net, concepts, banned


def build(work: Path) -> PictureSet:
    """The picture set, rendered on the first call (four minutes on 2 cores) and read from `work` afterwards."""
    net, concepts, banned = load_words(work)
    pictures_file, table_file = work / "pictures.npy", work / "pictures.json"
    if table_file.is_file():
        table = json.loads(table_file.read_text())
        pictures = np.load(pictures_file, mmap_mode="r")
        one_colour = np.isin(table["style"], table["one_colour"])
        return PictureSet(
            pictures, table["style"], np.array(table["concept"]), table["caption"], one_colour, concepts, banned
        )
    packages = {style.name: npm_package(work, style.package, style.version) for style in STYLES}
    names = _names(concepts, packages)
    rendered: list[np.ndarray] = []
    style_of: list[str] = []
    concept_of: list[int] = []
    caption_of: list[str] = []
    with ProcessPoolExecutor() as pool:
        for style in STYLES:
            drawn = list(_style_svgs(packages[style.name], names))
            rendered.extend(pool.map(_render_svg, [svg for _, svg in drawn], chunksize=32))
            style_of += [style.name] * len(drawn)
            concept_of += [index for index, _ in drawn]
            caption_of += [""] * len(drawn)
        clipart = clipart_captions(debian_tree(work), net, banned)
        rendered.extend(pool.map(_read_png, [file for file, _ in clipart], chunksize=32))
        style_of += [CLIPART] * len(clipart)
        caption_of += [caption for _, caption in clipart]
        one_colour = []
        for icon_set in ICON_SETS:
            package = npm_package(work, icon_set.package, icon_set.version)
            if not json.loads((package / "info.json").read_text(encoding="utf-8"))["palette"]:
                one_colour.append(icon_set.name)
            icons = named_icons(package, net, banned)
            rendered.extend(pool.map(_render_svg, [svg for _, svg in icons], chunksize=32))
            style_of += [icon_set.name] * len(icons)
            caption_of += [caption for caption, _ in icons]
    concept_of += [-1] * (len(rendered) - len(concept_of))
    np.save(pictures_file, np.stack(rendered))
    table = {"style": style_of, "concept": concept_of, "caption": caption_of, "one_colour": one_colour}
    table_file.write_text(json.dumps(table))
    return build(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".cache"), help="folder for downloads and renders")
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    data = build(work)
    for style in [*(s.name for s in STYLES), CLIPART, *(s.name for s in ICON_SETS)]:
        print(f"{style:20} {data.style.count(style):6} pictures")
    held_out = sum(c.held_out for c in data.concepts)
    kept_out = sum(not c.in_training for c in data.concepts) - held_out
    print(
        f"{len(data.concepts)} concepts: {held_out} held out, {kept_out} more kept out because their label mentions one"
    )
    (work / "concepts.json").write_text(json.dumps([dataclasses.asdict(c) for c in data.concepts], indent=1))


if __name__ == "__main__":
    main()
