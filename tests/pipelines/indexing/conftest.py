"""Databases of vectors that a test writes as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.schemas import contents_schema
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed

WRITTEN = Callable[..., Store]


@pytest.fixture
def written(tmp_path: Path) -> WRITTEN:
    """Appends rows with these vectors, float32 [N, D] by column, a row of NaN for none; they are named by `first` and
    following numbers."""

    def write(vectors: dict[str, np.ndarray], first: int = 0) -> Store:
        count = len(next(iter(vectors.values())))
        schema = contents_schema({name: values.shape[1] for name, values in vectors.items()})
        columns = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
        columns |= {name: to_fixed(values) for name, values in vectors.items()}
        columns["content_id"] = pa.array([f"i{first + number}" for number in range(count)])
        columns["kind"] = pa.array(["image"] * count)
        store = Store.create(tmp_path / "db")
        table = pa.table([columns[name] for name in schema.names], schema=schema)
        lance.write_dataset(table, store.path("contents"), mode="append" if first else "create")
        return store

    return write


def clustered(rows: int, dim: int = 48, seed: int = 0, centres: int = 40, spread: float = 0.5) -> np.ndarray:
    """float32 [rows, dim]; the centres are the same for every seed."""
    random = np.random.default_rng(seed)
    centre = np.random.default_rng(77).standard_normal((centres, dim))[random.integers(0, centres, rows)]
    return (centre + spread * random.standard_normal((rows, dim))).astype(np.float32)
