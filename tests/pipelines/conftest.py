"""A workspace: a folder of media made by the test and real databases beside it; the bundled CLIP is loaded once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from fuseid.core.config import Config
from fuseid.pipelines.assignment.assign import assign
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.ingestion.steps import EncodeStep, load_encoders
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.rq_kmeans import RQKMeans

SETTINGS = {
    "clip": {"batch_size": 8, "device": "cpu"},
    "decode": {"workers": 1, "sampling": {"frames": 2}},
    "tokenizer": {"codebook_sizes": [4, 3], "iterations": 5},
    "fusion": {"dim": 16},
    "run": {"block_rows": 16, "wave_rows": 32, "wave_vectors": 32},
}


@pytest.fixture(scope="session")
def encode_step() -> EncodeStep:
    return load_encoders(Config.model_validate(SETTINGS))


def no_model(config: Config) -> EncodeStep:
    raise AssertionError("a model was loaded, although there is nothing to encode")


def settings(**changes: dict[str, Any]) -> Config:
    """The small settings, with keys of sections changed; a section set to None is switched off."""
    sections = {**SETTINGS}
    for name, keys in changes.items():
        sections[name] = None if keys is None else {**sections.get(name, {}), **keys}
    return Config.model_validate(sections)


class Workspace:
    """`uri` names a database by its short name; `media` is where manifests and their media lie."""

    def __init__(self, root: Path, encode_step: EncodeStep) -> None:
        self.root = root
        self.media = root / "media"
        self.media.mkdir()
        self.settings = settings
        self.no_model = no_model
        self._encode_step = encode_step

    def uri(self, db: str = "db") -> str:
        return str(self.root / db)

    def store(self, db: str = "db") -> Store:
        return Store.open(self.uri(db))

    def catalog(self, db: str = "db") -> Catalog:
        return Catalog.open(self.uri(db))

    # Sources

    def manifest(self, rows: Sequence[dict[str, Any]], name: str = "manifest.jsonl") -> Path:
        path = self.media / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def picture(self, name: str, seed: int, size: tuple[int, int] = (64, 48)) -> str:
        """A file of a few coloured shapes, another for each seed; returns its uri."""
        generator = np.random.default_rng(seed)
        image = Image.new("RGB", size, tuple(map(int, generator.integers(0, 256, 3))))
        draw = ImageDraw.Draw(image)
        for _ in range(3):
            x, y = np.sort(generator.integers(0, size[0], 2)), np.sort(generator.integers(0, size[1], 2))
            colour = tuple(map(int, generator.integers(0, 256, 3)))
            draw.rectangle((int(x[0]), int(y[0]), int(x[1]), int(y[1])), fill=colour)
        image.save(self.media / name)
        return name

    def video(self, name: str, seed: int = 0, frames: int = 12) -> str:
        generator = np.random.default_rng(seed)
        with av.open(str(self.media / name), "w") as output:
            stream = output.add_stream("mpeg4", rate=12)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 6
            stream.codec_context.thread_count = 1
            for number in range(frames):
                pixels = np.full((48, 64, 3), generator.integers(0, 256, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 12)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return name

    def vectors(self, rows: dict[str, Sequence[float] | np.ndarray], name: str = "vectors.npy") -> Vectors:
        path = self.media / name
        np.save(path, np.asarray(list(rows.values()), dtype=np.float32))
        path.with_suffix(".ids.txt").write_text("".join(f"{content_id}\n" for content_id in rows), encoding="utf-8")
        return Vectors(path)

    def parquet(self, rows: dict[str, Any], name: str = "vectors.parquet", **columns: Any) -> Path:
        """A file of vectors by content_id, null where there is None, and of other columns; returns its path."""
        path = self.media / name
        vectors = pa.array([None if row is None else np.asarray(row).tolist() for row in rows.values()])
        pq.write_table(pa.table({"content_id": pa.array([*rows], pa.string()), "vector": vectors, **columns}), path)
        return path

    # Jobs

    def ingest(self, rows: Any, db: str = "db", config: Config | None = None, load: Any = None, **more: Any) -> Run:
        """rows: of a manifest, or a path of a source. load: what loads the models, by default those that are loaded."""
        source = open_source(rows if isinstance(rows, Path) else self.manifest(rows))
        runner = LocalRunner(load or (lambda _: self._encode_step))
        return ingest(self.uri(db), source, config or settings(), runner, **more)

    def ingest_vectors(
        self,
        rows: dict[str, Any] | Path | str,
        db: str = "db",
        config: Config | None = None,
        name: str = "external",
        **more: Any,
    ) -> Run:
        """rows: vectors by content_id, or a path of a source."""
        source = Vectors(self.vectors(rows).path if isinstance(rows, dict) else rows, name=name)
        return ingest(self.uri(db), source, config or settings(clip=None), LocalRunner(), **more)

    def fit(self, db: str = "db", cold: bool = False, **changes: Any) -> Run:
        return fit(self.uri(db), settings(**changes), cold=cold)

    def assign_with(self, tokenizer: RQKMeans, db: str = "db", champion: bool = False) -> int:
        """Assigns IDs as a run does, without the maintenance that follows."""
        store = self.store(db)
        with Lease(store):
            return assign(store, tokenizer, "test-run", champion=champion)

    def once(self, kept: Path, make: Callable[[], None]) -> Workspace:
        """Fills the database `db`: by `make`, which may leave no other trace, or by a copy of what it made before.
        kept: where that is."""
        if kept.exists():
            shutil.copytree(kept, self.uri())
        else:
            make()
            shutil.copytree(self.uri(), kept)
        return self

    # What is in a database

    def rows(self, table: str = "contents", db: str = "db") -> dict[str, dict[str, Any]]:
        store = self.store(db)
        if table == "contents" and not store.has_contents():
            return {}
        rows = store.dataset(table).to_table().to_pylist()
        found = {row["content_id"]: row for row in rows}
        assert len(found) == len(rows), f"{table} holds a content_id twice"
        return found

    def changes(self, before: dict[str, dict[str, Any]], db: str = "db") -> dict[str, set[str]]:
        """The columns of `contents` that differ from `before`, by content_id; of a row that is new or gone, all."""
        after = self.rows(db=db)
        found = {}
        for name in before.keys() | after.keys():
            one, other = before.get(name, {}), after.get(name, {})
            if columns := {column for column in one.keys() | other.keys() if one.get(column) != other.get(column)}:
                found[name] = columns
        return found

    def ids(self, db: str = "db") -> dict[str, str | None]:
        return {name: row["sid"] for name, row in self.rows("contents", db).items()}

    def ledger(self, tokenizer_id: str | None = None, db: str = "db") -> dict[str, str]:
        store = self.store(db)
        tokenizer_id = tokenizer_id or store.setting("champion")
        rows = store.dataset("assignments").to_table(filter=f"tokenizer_id = '{tokenizer_id}'").to_pylist()
        found = {row["content_id"]: row["sid"] for row in rows}
        assert len(found) == len(rows) == len(set(found.values())), "the ledger gave an item or an ID twice"
        return found

    def candidate(self, db: str = "db") -> str:
        """The only tokenizer of the ledger that is not champion."""
        store = self.store(db)
        names = store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].unique().to_pylist()
        (found,) = {*names} - {store.setting("champion")}
        return found

    def captions(self, count: int, prefix: str = "t") -> list[dict[str, Any]]:
        words = ("apple", "dog", "bicycle", "house", "tree", "fish", "cloud")
        return [
            {"content_id": f"{prefix}{i:03d}", "caption": f"a {words[i % 7]} number {i // 3}"} for i in range(count)
        ]


@pytest.fixture(scope="session")
def make_workspace(encode_step: EncodeStep) -> Callable[[Path], Workspace]:
    return lambda root: Workspace(root, encode_step)


@pytest.fixture
def workspace(tmp_path: Path, make_workspace: Callable[[Path], Workspace]) -> Workspace:
    return make_workspace(tmp_path)


def clusters(count: int, dim: int = 8, seed: int = 0, prefix: str = "v") -> dict[str, np.ndarray]:
    """Ready-made vectors around a few centres, by content_id."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(5, dim))
    return {
        f"{prefix}{i:03d}": (centres[i % 5] + 0.2 * generator.normal(size=dim)).astype(np.float32) for i in range(count)
    }


@pytest.fixture(scope="session")
def make_bare() -> Callable[[Path], Workspace]:
    return lambda root: Workspace(root, None)  # type: ignore[arg-type]


@pytest.fixture
def bare(tmp_path: Path, make_bare: Callable[[Path], Workspace]) -> Workspace:
    """A workspace for ready-made vectors: nothing in it can load a model."""
    return make_bare(tmp_path)


@pytest.fixture(scope="session")
def cluster() -> Any:
    return clusters


@pytest.fixture(scope="session")
def fitted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fitted") / "db"


@pytest.fixture
def fitted(bare: Workspace, fitted_once: Path) -> Workspace:
    """Sixty ready-made vectors, v000 to v059, with IDs in the database `db`; made once and copied."""

    def make() -> None:
        bare.ingest_vectors(clusters(60))
        bare.fit()

    return bare.once(fitted_once, make)


@pytest.fixture(scope="session")
def killed_job() -> Callable[[Path, str], None]:
    """Runs a job in a process that ends by SIGKILL inside it. code: what it does before."""

    def run(db: Path, code: str) -> None:
        script = (
            "import os, signal, time\nfrom fuseid.core.config import Config\n"
            "from fuseid.pipelines.jobs.runs import exclusive_job\nfrom fuseid.pipelines.store.store import Store\n"
            "config = Config.model_validate({'run': {'report_seconds': 0.02}})\n"
            f"with exclusive_job(Store.create({str(db)!r}), 'ingest', config) as run:\n    {code}\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == -9

    return run
