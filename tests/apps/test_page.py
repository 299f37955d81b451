"""The page of thumbnails by ID prefix: text of items is escaped, and every item is shown once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.apps.page import write_page
from fuseid.core.config import Config, RQKMeansConfig
from fuseid.core.errors import StoreError
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.vectors import Vectors

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = np.random.default_rng(3).standard_normal((20, 8)).astype(np.float32)
    captions = [HOSTILE if number == 4 else f"words {number}" for number in range(20)]
    table = {"content_id": [f'item-{number}"' for number in range(20)], "vector": list(rows), "caption": captions}
    path = tmp_path_factory.mktemp("page") / "mine.parquet"
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture(scope="module")
def db(vectors: Path) -> str:
    config = Config(clip=None, tokenizer=RQKMeansConfig(codebook_sizes=(4, 3)))
    uri = str(vectors.with_name("db"))
    ingest(uri, Vectors(vectors), config, LocalRunner())
    fit(uri, config)
    return uri


def test_captions_and_ids_are_escaped(db: str, tmp_path: Path) -> None:
    assert write_page(db, tmp_path / "page.html", HOSTILE, HOSTILE) == 20
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("<figure") == 20
    assert 'item-4"' not in page


def test_a_page_shows_no_more_items_than_its_limit(db: str, tmp_path: Path) -> None:
    assert write_page(db, tmp_path / "page.html", "title", "", limit=7) == 7
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<figure") == 7


def test_without_ids_a_page_is_refused(tmp_path: Path, vectors: Path) -> None:
    ingest(str(tmp_path / "other"), Vectors(vectors), Config(clip=None), LocalRunner())
    with pytest.raises(StoreError, match="no semantic IDs yet"):
        write_page(str(tmp_path / "other"), tmp_path / "page.html", "title", "")
