"""Commands that show items: attributes are objects in JSON, as they were listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fuseid.core.config import Config
from fuseid.pipelines.lookup import Catalog

ATTRIBUTES = {
    "exact": 9_007_199_254_740_993,
    "largest": 2**64 - 1,
    "beyond": 2**70,
    "nan": float("nan"),
    "nested": {"tags": ["a", None, True], 'quo"te': "O'Brien"},
    "price": 0.1,
}
# What JSON cannot say is listed as null, and what Lance cannot, as text.
STORED = ATTRIBUTES | {"beyond": str(2**70), "nan": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ingest_and_fit) -> Path:
    folder = tmp_path_factory.mktemp("view")
    rows = [{"content_id": f"t{n}", "caption": f"word {n}"} for n in range(12)]
    rows[3]["attributes"] = ATTRIBUTES
    tokenizer = {"codebook_sizes": [4, 3], "iterations": 5}
    config = Config.model_validate(
        {"clip": {"model": "fake:16"}, "decode": {"workers": 1}, "tokenizer": tokenizer, "fusion": {"dim": 8}}
    )
    ingest_and_fit(folder, rows, config)
    return folder


@pytest.fixture
def directory(folder: Path) -> Path:
    return folder


def test_attributes_are_objects_with_exact_numbers(as_json):
    found = {row["content_id"]: row["attributes"] for row in as_json("lookup", "--db", "db", "--like", "t0", "-k", 20)}
    assert len(found) == 11
    assert found.pop("t3") == STORED
    assert all(attributes == {} for attributes in found.values())
    assert as_json("explain", "--db", "db", "t3")["attributes"] == STORED


def test_in_python_a_table_has_them_as_text(folder):
    table = Catalog.open(folder / "db").search(like="t0", where="content_id = 't3'")
    assert [json.loads(text) for text in table["attributes"].to_pylist()] == [STORED]
