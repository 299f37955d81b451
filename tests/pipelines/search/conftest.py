"""Catalogues of rows that a test writes as a job would have written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.config import ClipConfig
from fuseid.core.schemas import contents_schema
from fuseid.encoders.models import load_clip
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.sources.item import canonical
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed


@pytest.fixture(scope="session")
def catalog_of() -> Callable[[Path, Sequence[dict[str, Any]]], Catalog]:
    """Writes rows of `contents` into a new database; -> its catalogue. Attributes are objects, what a row lacks is
    null, a row without a kind is text; the database has IDs if a row has."""

    def write(folder: Path, rows: Sequence[dict[str, Any]]) -> Catalog:
        schema = contents_schema({"fused": 4})
        whole = [
            {"kind": "text", "codes": None, **row, "attributes": canonical(row.get("attributes", {}))} for row in rows
        ]
        for row in whole:
            row["sid"] = row["codes"] and "-".join(map(str, row["codes"]))
        columns = {field.name: pa.array([row.get(field.name) for row in whole], field.type) for field in schema}
        store = Store.create(folder)
        lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"), max_rows_per_file=1000)
        if any(row["codes"] for row in whole):
            store.put_settings({"champion": "rq_kmeans-0"}, store.settings())
        return Catalog(store)

    return write


# A small catalogue with every kind of vector

DIM = 16
FAKE = ClipConfig(model=f"fake:{DIM}")
WORDS = ("apple", "dog", "bicycle", "house", "tree", "fish", "cloud", "river")


@dataclass(frozen=True)
class Small:
    """names: content_ids [N]. vectors: by column, float32 [N, D] of length one, a row of NaN for none."""

    store: Store
    names: list[str]
    vectors: dict[str, np.ndarray]
    captions: list[str | None]
    sids: list[str | None]

    @property
    def catalog(self) -> Catalog:
        return Catalog.open(self.store.uri)


def write(folder: Path, vectors: dict[str, np.ndarray], captions: list[str | None], sids: list[str | None]) -> Store:
    count = len(captions)
    schema = contents_schema({name: values.shape[1] for name, values in vectors.items()})
    columns: dict[str, Any] = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
    columns |= {name: to_fixed(values) for name, values in vectors.items()}
    columns |= {
        "content_id": [f"i{number:03d}" for number in range(count)],
        "kind": ["image"] * count,
        "caption": captions,
        "sid": sids,
        "clip_fp": [load_clip(FAKE).fingerprint] * count,
    }
    store = Store.create(folder / "db")
    lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"))
    store.put_settings({"champion": "rq_kmeans-0", "clip": FAKE.model_dump()}, store.settings())
    return store


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """80 items, of which some lack a picture, a caption or a fused vector; with a full-text index."""
    random = np.random.default_rng(1)
    count = 80
    captions = [f"a {' '.join(random.choice(WORDS, 3))}" if random.random() < 0.7 else None for _ in range(count)]
    vectors = {name: random.normal(size=(count, DIM)).astype(np.float32) for name in ("clip_image", "fused")}
    vectors["clip_text"] = load_clip(FAKE).encode_texts([caption or "x" for caption in captions])
    vectors["clip_text"][[caption is None for caption in captions]] = np.nan
    vectors["clip_image"][random.random(count) < 0.3] = np.nan
    vectors["fused"][random.random(count) < 0.1] = np.nan
    for values in vectors.values():
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    sids = [f"{random.integers(3)}-{random.integers(3)}-{number}" if number % 9 else None for number in range(count)]
    store = write(tmp_path_factory.mktemp("small"), vectors, captions, sids)
    maintain(store)
    names = [f"i{number:03d}" for number in range(count)]
    return Small(store, names, vectors, captions, sids)
