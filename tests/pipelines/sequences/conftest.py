"""Five items with IDs of two levels, tables of events, and a database of sixty items, made once."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.shards import SHARD

CODES = {"c0": (0, 1, 0), "c1": (0, 1, 1), "c2": (1, 0, 0), "c3": (2, 2, 0), "c4": (3, 1, 2)}


@pytest.fixture(scope="session")
def codes() -> dict[str, tuple[int, ...]]:
    """The two codes of each item and its suffix."""
    return CODES


@pytest.fixture(scope="session")
def items() -> Items:
    rows = pa.record_batch(
        {
            "content_id": list(CODES),
            "codes": pa.array([list(code[:2]) for code in CODES.values()], pa.list_(pa.int32())),
            "suffix": pa.array([code[2] or None for code in CODES.values()], pa.int32()),
        }
    )
    return Items.of([rows], (4, 3), titles=lambda table: pa.array([f"title of {name}" for name in CODES]))


@pytest.fixture(scope="session")
def shard_of() -> Callable[..., pa.Table]:
    def make(rows: Sequence[tuple], kept: pa.Schema | None = None) -> pa.Table:
        """rows: (user, item number, microseconds, values of the kept columns ...) in the order of the files."""
        schema = pa.schema([*SHARD, *(kept or ())])
        return pa.table(
            [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)], schema=schema
        )

    return make


@pytest.fixture
def interactions(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: Sequence[Sequence[Any]], header: str = "user_id,content_id,timestamp", name: str = "i.csv") -> Path:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header.split(","), *rows])
        return path

    return write
