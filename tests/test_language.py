"""The project's prose is plain English: words that made readers stumble stay out of it.

Prose is every Markdown file, and of Python files the comments and string literals, docstrings included.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "core", "encoders", "tokenizers", "pipelines", "ray_jobs", "api", "apps", "assets", "benchmarks", "docs",
    "examples", "tests",
)  # fmt: skip
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING), tokenize.COMMENT}
# Whole words in any case. `None` is excepted: it is Python's value.
BANNED = re.compile(r"\b(?:told|mend|mends|mended|anew|but for|is (?-i:(?!None))none)\b", re.IGNORECASE)


def _files() -> list[Path]:
    inside = [path for folder in FOLDERS for ext in ("py", "md") for path in (ROOT / folder).rglob(f"*.{ext}")]
    return sorted([*inside, *ROOT.glob("*.md")])


def _prose(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string for token in tokens if token.type in STRINGS)


def found_in(prose: str) -> list[str]:
    """The banned words of a text, whose lines may be broken within one."""
    return [match[0] for match in BANNED.finditer(re.sub(r"\s+(?:# )?", " ", prose))]


@pytest.mark.parametrize(
    ("prose", "found"),
    [
        ("It Mends what was told.", ["Mends", "told"]),
        ("a name that is\n    # none of these, but\nfor one", ["is none", "but for"]),
        ("None if `uri` is None; amend, untold, recommended", []),
    ],
)
def test_banned_words_are_whole_and_may_span_lines(prose: str, found: list[str]) -> None:
    assert found_in(prose) == found


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in _files()])
def test_prose_has_none_of_the_banned_words(path: Path) -> None:
    if path != Path(__file__):
        assert not found_in(_prose(path))
