"""Damage of the ID order is found, and repaired by making it again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from lance.file import LanceFileReader, LanceFileWriter

from fuseid.core.config import Config
from fuseid.pipelines.check import check
from fuseid.pipelines.store.id_order import named
from fuseid.pipelines.store.id_order_making import make_id_order, outside

WEEK = timedelta(days=7)


@pytest.fixture
def folder(fitted) -> Path:
    make_id_order(fitted.store(), WEEK)
    return Path(fitted.uri()) / "id_order" / named(fitted.store().dataset("contents"))["name"]


def found(workspace, **options) -> dict:
    return check(workspace.uri(), Config(), **options)


def swapped(file: Path) -> None:
    """Two rows exchange their places; the size stays."""
    reader = LanceFileReader(str(file))
    rows, metadata = reader.read_all().to_table(), reader.metadata().schema.metadata
    order = np.arange(len(rows))
    order[:2] = 1, 0
    with LanceFileWriter(str(file), rows.schema) as writer:
        writer.write_batch(rows.take(pa.array(order)).combine_chunks())
        for key, value in (metadata or {}).items():
            writer.add_schema_metadata(key.decode(), value.decode())


def test_a_whole_order_and_one_that_lacks_new_rows_have_no_damage(fitted, folder, cluster):
    assert found(fitted)["damages"] == []
    fitted.ingest_vectors(cluster(60) | cluster(5, seed=1, prefix="w"))
    assert outside(fitted.store(), fitted.store().dataset("contents")) > 0
    assert found(fitted)["damages"] == []


@pytest.mark.parametrize("file", ["items.lance", "level-1.lance", "level-2.lance"])
@pytest.mark.parametrize("harm", ["gone", "short", "zeros", "swapped"])
def test_damage_is_found_and_repaired(fitted, folder, file, harm):
    before = fitted.catalog().children().to_pylist()
    path = folder / file
    if harm == "gone":
        path.unlink()
    elif harm == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "zeros":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        swapped(path)
    (damage,) = found(fitted)["damages"]
    assert damage["where"] == "contents, ID order"
    assert "\n" not in damage["what"]
    document = found(fitted, repair=True)
    assert (len(document["repaired"]), document["damages"]) == (1, [])
    assert named(fitted.store().dataset("contents"))["name"] != folder.name
    assert fitted.catalog().children().to_pylist() == before
    assert outside(fitted.store(), fitted.store().dataset("contents")) == 0
