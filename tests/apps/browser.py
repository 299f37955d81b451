"""Pages in a real browser, headless Chromium: what a person would stumble over, and screenshots."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from PIL import Image

_NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
# Without a sandbox, as root in a container; nothing is loaded from anywhere.
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--allow-file-access-from-files",
)  # fmt: skip


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        reason = "no Chromium, which measures the pages: install chromium-headless-shell or chromium"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return found


def _run(folder: Path, page: Path, *flags: str) -> str:
    command = [_chromium(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def problems(folder: Path, pages: Mapping[str, Path], widths: Iterable[int]) -> list[str]:
    """`page at width: what`, for text under 11 pixels as drawn, text that overlaps other text, is cut off without a
    mark or lies outside of the window, pages that scroll sideways, and pictures smaller than their tile."""
    frames = [
        f'<iframe name="{html.escape(name)} at {width}" width="{width}" height="800" style="border: 0" '
        f'src="{path.resolve().as_uri()}"></iframe>'
        for name, path in pages.items()
        for width in widths
    ]
    script = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")
    host = folder / "host.html"
    host.write_text(f"<!doctype html><meta charset=utf-8><body>{''.join(frames)}<script>{script}</script>")
    dumped = _run(folder, host, "--dump-dom", "--virtual-time-budget=20000")
    text = re.search('<pre id="found">(.*?)</pre>', dumped, re.DOTALL)
    assert text, dumped[-2000:]
    found = json.loads(html.unescape(text[1]))
    assert len(found) == len(frames)
    return [f"{name}: {what}" for name, whats in found.items() for what in whats]


def screenshot(folder: Path, page: Path, width: int, height: int, dark: bool = False) -> Image.Image:
    """The first `height` pixels of a page in a window of this width."""
    path = folder / "screenshot.png"
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(folder, page, f"--screenshot={path}", f"--window-size={width},{height}", scheme)
    with Image.open(path) as picture:
        return picture.convert("RGB")
