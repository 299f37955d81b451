"""What tests of commands and pages share: commands run in this process, and small catalogues."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuseid.apps import cli
from fuseid.core.config import Config, load_config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.runners import LocalRunner
from fuseid.pipelines.sources import Vectors, open_source

SETTINGS = """
clip: {batch_size: 8, device: cpu}
decode: {workers: 1}
tokenizer: {codebook_sizes: [4, 3], iterations: 5}
fusion: {dim: 8}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where `fuseid` runs; a module may have another."""
    return tmp_path


@pytest.fixture
def fuseid(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, directory: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, in `directory`; -> (exit status, standard output, standard error)."""
    monkeypatch.chdir(directory)
    for name in [name for name in os.environ if name.startswith("FUSEID_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fuseid", *map(str, arguments)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code
        written = capsys.readouterr()
        return status, written.out, written.err

    return run


@pytest.fixture
def shown(fuseid: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Runs a command that must succeed, with nothing on standard error; -> standard output."""

    def run(*arguments: object) -> str:
        status, out, err = fuseid(*arguments)
        assert (status, err) == (0, "")
        return out

    return run


@pytest.fixture
def told(shown: Callable[..., str]) -> Callable[..., Any]:
    """The same with `--json`; -> the document."""
    return lambda *arguments: json.loads(shown(*arguments, "--json"))


@pytest.fixture
def refused(fuseid: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Runs a command that must fail with one line on standard error; -> that line."""

    def run(*arguments: object, status: int = 1) -> str:
        found, out, err = fuseid(*arguments)
        assert (found, out) == (status, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture(scope="session")
def settings() -> str:
    """A `fuseid.yaml` for small things."""
    return SETTINGS


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `fuseid.yaml`, `vectors.npy` (v00 to v39), and a database `db` of those vectors with IDs."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "fuseid.yaml").write_text(SETTINGS)
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(5, 8))
    vectors = centres[np.arange(40) % 5] + 0.2 * generator.normal(size=(40, 8))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    (folder / "vectors.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(40)))
    config = load_config(folder / "fuseid.yaml").model_copy(update={"clip": None})
    ingest(str(folder / "db"), Vectors(folder / "vectors.npy"), config, LocalRunner())
    fit(str(folder / "db"), config)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` that the test may change; where `fuseid` runs."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


@pytest.fixture(scope="session")
def manifest() -> Callable[..., Path]:
    """Writes the rows of a manifest into a folder, beside their media; -> its path."""

    def write(folder: Path, *rows: dict[str, Any]) -> Path:
        path = folder / "manifest.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def write_pictures() -> Callable[[Path, int], list[dict[str, Any]]]:
    """Writes pictures of one colour each, no two alike; -> their rows of a manifest."""

    def write(folder: Path, count: int) -> list[dict[str, Any]]:
        for number in range(count):
            Image.new("RGB", (40, 30), (12 * number, 240 - 12 * number, 90)).save(folder / f"{number}.png")
        return [{"content_id": f"p{n}", "uri": f"{n}.png", "caption": f"colour {n}"} for n in range(count)]

    return write


@pytest.fixture(scope="session")
def ingest_and_fit(manifest: Callable[..., Path]) -> Callable[[Path, Sequence[dict[str, Any]], Config], None]:
    """Makes the database `db` of a manifest's rows beside their media."""

    def make(folder: Path, rows: Sequence[dict[str, Any]], config: Config) -> None:
        ingest(str(folder / "db"), open_source(manifest(folder, *rows)), config, LocalRunner())
        fit(str(folder / "db"), config)

    return make
