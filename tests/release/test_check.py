"""What `make release-check` builds is the same each time, and its checks of contents notice what is not committed."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_check", ROOT / "release" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.UV = str(Path(sys.executable).parent / "uv")
    return module  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_release_is_built_the_same_each_time_of_what_is_committed(release: ModuleType, tmp_path: Path) -> None:
    project = tomllib.loads(release.committed("pyproject.toml").decode())
    sdist, wheel = release.build(tmp_path / "one")
    again = release.build(tmp_path / "two")
    assert [path.read_bytes() for path in again] == [sdist.read_bytes(), wheel.read_bytes()]
    release.check_wheel(wheel, project)
    release.check_sdist(sdist)
    with zipfile.ZipFile(wheel, "a") as opened:
        opened.writestr("fuseid/core/notes.txt", "left by an editor")
    with pytest.raises(SystemExit, match=r"notes\.txt"):
        release.check_wheel(wheel, project)


def test_every_python_that_is_named_is_looked_for(release: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert release.pythons(["Topic :: Multimedia", f"Programming Language :: Python :: {here}"]) == [here]
    with pytest.raises(SystemExit, match="no Python"):
        release.pythons(["Programming Language :: Python :: 3", "Programming Language :: Python :: 3.29"])
    assert "Python 3.29: not on this machine, not checked" in capsys.readouterr().out
