"""What tests of commands and pages share: settings, manifests and small catalogues."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from fuseid.core.config import Config, load_config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors

CLIP = {"batch_size": 8, "device": "cpu"}


def written(clip: Mapping[str, Any] = CLIP) -> str:
    tokenizer = {"codebook_sizes": [4, 3], "iterations": 5}
    return yaml.safe_dump({"clip": dict(clip), "decode": {"workers": 1}, "tokenizer": tokenizer, "fusion": {"dim": 8}})


@pytest.fixture(scope="session")
def settings() -> Callable[..., str]:
    """-> the text of a `fuseid.yaml` with small models and codebooks; clip: its section of that name."""
    return written


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `fuseid.yaml`, `vectors.npy` (v00 to v39), and a database `db` of those vectors with IDs."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "fuseid.yaml").write_text(written())
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


@pytest.fixture
def events(folder: Path) -> Path:
    """Twelve events of two users in turn, with items of `db`."""
    path = folder / "events.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [[f"u{n % 2}", f"v{3 * n:02d}", 1714564800 + 60 * n, "view"] for n in range(12)]
        csv.writer(file).writerows([["user_id", "content_id", "timestamp", "event"], *rows])
    return path


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
