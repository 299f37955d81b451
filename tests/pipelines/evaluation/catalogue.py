"""Forty ready-made vectors in a database, and events of thirty users, five of whom end at items of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.config import Config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.vectors import Vectors

ITEMS, NEW, USERS = 40, 5, 30
NAMES = [f"v{n:02d}" for n in range(ITEMS)]


def settings(*codebooks: int) -> Config:
    tokenizer = {"codebook_sizes": codebooks, "iterations": 5}
    return Config.model_validate({"clip": None, "tokenizer": tokenizer, "fusion": {"dim": 8}})


def database(folder: Path, seed: int) -> str:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(5, 8))
    vectors = centres[np.arange(ITEMS) % 5] + 0.2 * generator.normal(size=(ITEMS, 8))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    (folder / "vectors.ids.txt").write_text("".join(f"{name}\n" for name in NAMES))
    uri = str(folder / "db")
    ingest(uri, Vectors(folder / "vectors.npy"), settings(4, 3), LocalRunner())
    fit(uri, settings(4, 3))
    return uri


def events(folder: Path) -> Path:
    """Walks on a ring of the items."""
    ring = ITEMS - NEW
    # Squares, so that some items are visited more often than others, and each by some user.
    walks = [[(user * user + step) % ring for step in range(8)] for user in range(USERS)]
    for user in range(NEW):
        walks[user][-1] = ring + user
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (f"u{user}", NAMES[item], start + timedelta(days=user, hours=step))
        for user, walk in enumerate(walks)
        for step, item in enumerate(walk)
    ]
    path = folder / "events.parquet"
    columns = dict(zip(("user_id", "content_id", "timestamp"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), path)
    return path
