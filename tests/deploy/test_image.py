"""The image is built from what there is: its context has every folder of code, its arguments name what exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_context_has_what_the_wheel_is_built_from_and_little_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert "*" in lines
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    folders = set(PYPROJECT["tool"]["setuptools"]["package-dir"].values())
    tops = {folder if folder.startswith("assets/") else folder.split("/")[0] for folder in folders}
    project = PYPROJECT["project"]
    files = {"pyproject.toml", project["readme"], *project["license-files"], "requirements*.lock"}
    assert allowed == tops | files | {"deploy/image"}


def test_the_arguments_name_a_lock_and_extras_that_exist() -> None:
    defaults = dict(re.findall(r"^ARG (\w+)=(.+)$", DOCKERFILE, re.M))
    assert (ROOT / defaults["LOCK"]).is_file()
    assert set(defaults["EXTRAS"].strip('"').split()) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_what_is_copied_into_the_image_exists_and_can_be_run() -> None:
    scripts = sorted((ROOT / "deploy" / "image").iterdir())
    assert [path.name for path in scripts] == ["fuseid-health", "fuseid-scheduled"]
    assert all(path.stat().st_mode & 0o111 for path in scripts)
    assert 'CMD ["fuseid-health"]' in DOCKERFILE
