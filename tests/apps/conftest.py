"""What tests of commands and pages share: commands run in this process, and small catalogues of pictures."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fuseid.apps import cli
from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.runners import LocalRunner
from fuseid.pipelines.sources import open_source


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


@pytest.fixture(scope="session")
def write_pictures() -> Callable[[Path, int], list[dict[str, Any]]]:
    """Writes pictures of one colour each, no two alike; -> their rows of a manifest."""

    def write(folder: Path, count: int) -> list[dict[str, Any]]:
        for number in range(count):
            Image.new("RGB", (40, 30), (12 * number, 240 - 12 * number, 90)).save(folder / f"{number}.png")
        return [{"content_id": f"p{n}", "uri": f"{n}.png", "caption": f"colour {n}"} for n in range(count)]

    return write


@pytest.fixture(scope="session")
def ingest_and_fit() -> Callable[[Path, Sequence[dict[str, Any]], Config], None]:
    """Makes the database `db` of a manifest's rows beside their media."""

    def make(folder: Path, rows: Sequence[dict[str, Any]], config: Config) -> None:
        manifest = folder / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        ingest(str(folder / "db"), open_source(manifest), config, LocalRunner())
        fit(str(folder / "db"), config)

    return make
