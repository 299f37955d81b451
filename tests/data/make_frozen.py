"""Makes the frozen databases of this folder: `python tests/data/make_frozen.py SCHEMA [GROUP ...]`, with the code of
that schema. For a schema of the past, use this file with the Python of a checkout of its time:

    git worktree add /tmp/old COMMIT && make -C /tmp/old .venv/ready
    /tmp/old/.venv/bin/python tests/data/make_frozen.py 3 vectors

GROUP: `media` makes the first three kinds, `vectors` the last one; by default both. Each is a `.tar.gz` of a small
database as a release left it, of the manifest it came from, and of an export of its IDs:

    no-ids           captions, pictures and rejected items, before the first fit
    ids              the same with IDs, edited and pruned items, and an export that is tagged
    two-tokenizers   the same with a second tokenizer, promoted, and items newer than both
    vectors          ready-made vectors (from schema 4 on of two names), some of them with captions, and other captions,
                     all with IDs and vector indexes; a rejected vector, and an export that is tagged

They are made once for each schema and never again: what is tested is what a later release does with them.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fuseid.core.config import Config
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.promote import promote
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store

FOLDER = Path(__file__).parent / "frozen"
# In the rows of `runs` for good, so the same wherever it is made.
ROOT = Path("/tmp/fuseid-frozen")
SETTINGS = {
    "clip": {"model": "fake:16"},
    "decode": {"workers": 1},
    "fusion": {"dim": 8},
    "tokenizer": {"codebook_sizes": [4, 3], "iterations": 5},
    "run": {"max_prune": "100%"},
}


def settings(**tokenizer: int) -> Config:
    return Config.model_validate({**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], **tokenizer}})


def catalogue(folder: Path, captions: int, pictures: int) -> Path:
    """A manifest beside its media; the last picture cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ("apple", "dog", "bicycle", "house", "tree")
    rows = [{"content_id": f"t{i:02d}", "caption": f"a {words[i % 5]} number {i // 2}"} for i in range(captions)]
    for number in range(pictures):
        generator = np.random.default_rng(number)
        coarse = Image.fromarray(generator.integers(0, 255, (3, 4, 3), dtype=np.uint8))
        coarse.resize((48, 36), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        rows.append({"content_id": f"p{number}", "uri": f"{number}.png", "attributes": {"number": number}})
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append({"content_id": "broken", "uri": "broken.png"})
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def vectors(folder: Path, rows: int, seed: int = 0) -> Path:
    """An .npy file with its ids; the last vector is of zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((1 + rows // 10, 12)).repeat(10, axis=0)[:rows]
    values = (values + 0.2 * generator.standard_normal(values.shape)).astype(np.float32)
    np.save(folder / "vectors.npy", np.vstack([values, np.zeros((1, 12), np.float32)]))
    ids = [*(f"v{i:02d}" for i in range(rows)), "zeros"]
    (folder / "vectors.ids.txt").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    return folder / "vectors.npy"


def with_captions(folder: Path, rows: int) -> Path:
    """The same vectors in Parquet, the first of them with captions, and one that differs."""
    values = np.load(folder / "vectors.npy")[:rows]
    values[1] += 1
    captions = [f"a chair number {i}" for i in range(rows)]
    ids = [f"v{i:02d}" for i in range(rows)]
    pq.write_table(
        pa.table({"content_id": ids, "caption": captions, "vector": list(values)}), folder / "vectors.parquet"
    )
    return folder / "vectors.parquet"


def main(schema: str, *groups: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    for group in groups or GROUPS:
        shutil.rmtree(ROOT, ignore_errors=True)
        GROUPS[group](schema)
    shutil.rmtree(ROOT)


def make_media(schema: str) -> None:
    media, db = ROOT / "media", ROOT / "db"
    ingest(str(db), open_source(catalogue(media, 40, 6)), settings(), LocalRunner())
    pack(f"schema-{schema}-no-ids")
    fit(str(db), settings())
    ingest(str(db), open_source(catalogue(media, 36, 8)), settings(), LocalRunner(), prune=True)
    export_ids(str(db), ROOT / "export")
    pack(f"schema-{schema}-ids")
    fit(str(db), settings(seed=1))
    store = Store.open(str(db))
    given = store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].unique().to_pylist()
    (candidate,) = {*given} - {store.setting("champion")}
    promote(str(db), candidate, settings())
    ingest(str(db), open_source(catalogue(media, 44, 8)), settings(), LocalRunner())
    shutil.rmtree(ROOT / "export")
    export_ids(str(db), ROOT / "export")
    pack(f"schema-{schema}-two-tokenizers")


def make_vectors(schema: str) -> None:
    media, db = ROOT / "media", ROOT / "db"
    no_models = Config.model_validate({**SETTINGS, "clip": None})
    ingest(str(db), open_source(catalogue(media, 8, 0)), settings(), LocalRunner())
    ingest(str(db), Vectors(vectors(media, 40)), no_models, LocalRunner())
    if schema != "3":
        audio = Vectors(vectors(media / "audio", 20, seed=1), name="audio")
        ingest(str(db), audio, no_models, LocalRunner())
    fit(str(db), settings())
    ingest(str(db), Vectors(with_captions(media, 6)), no_models, LocalRunner())
    maintain(Store.open(str(db)), vector_rows=20)
    export_ids(str(db), ROOT / "export")
    pack(f"schema-{schema}-vectors")


GROUPS = {"media": make_media, "vectors": make_vectors}


def pack(name: str) -> None:
    with tarfile.open(FOLDER / f"{name}.tar.gz", "w:gz") as archive:
        for path in sorted(ROOT.iterdir()):
            archive.add(path, path.name)


if __name__ == "__main__":
    main(*sys.argv[1:])
