"""The demo on the local runner, from ingest to page, with the bundled sample and models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fuseid.apps.demo import run_demo, sample_directory
from fuseid.core.errors import BadInput
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.store.store import Store


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    run_demo(out, "local")
    return out


@pytest.fixture(scope="module")
def listed() -> list[dict]:
    lines = (sample_directory() / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_item_of_the_sample_has_an_id(demo: Path, listed: list[dict]) -> None:
    store = Store.open(demo / "db")
    rows = store.dataset("contents").to_table(columns=["content_id", "sid", "kind"]).to_pylist()
    assert store.dataset("rejected").count_rows() == 0
    assert {row["content_id"] for row in rows} == {item["content_id"] for item in listed}
    assert all(row["sid"] for row in rows)
    assert len({row["sid"] for row in rows}) == len(rows) >= 300
    assert sum(row["kind"] == "video" for row in rows) >= 12


def test_the_second_ingest_planned_nothing(demo: Path) -> None:
    runs = Store.open(demo / "db").dataset("runs").to_table().sort_by("started_at").to_pylist()
    first, second = (json.loads(run["counts"]) for run in runs if run["job"] == "ingest")
    assert first["committed"] == first["listed"]
    assert second["planned"] == second["committed"] == 0
    assert all(run["outcome"] == "done" for run in runs)


def test_the_export_holds_what_the_catalogue_holds(demo: Path, listed: list[dict]) -> None:
    table = pq.read_table(demo / "ids" / "ids-00000.parquet")
    assert sorted(table["content_id"].to_pylist()) == sorted(item["content_id"] for item in listed)


def test_the_page_is_self_contained_and_shows_every_item(demo: Path, listed: list[dict]) -> None:
    page = (demo / "semantic-ids.html").read_text(encoding="utf-8")
    groups = page.split("What the codes mean")[1]
    assert groups.count("<figure") == len(listed)
    assert "data:image/" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "http://" not in page
    assert "https://" not in page


# The caption of a hit need not hold the words: pictures without captions count too, by their ids.
QUERIES = ("apple", "dog", "train", "guitar", "airplane", "rainbow", "penguin", "car", "pizza", "umbrella")


def test_words_find_the_right_pictures(demo: Path) -> None:
    catalog = Catalog.open(demo / "db")
    hits = []
    for word in QUERIES:
        found = catalog.search(text=word, k=5, where="kind = 'image'")["content_id"].to_pylist()
        hits.append(any(word in name for name in found))
    assert sum(hits) >= 8, dict(zip(QUERIES, hits, strict=True))


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(BadInput, match="not made by the demo"):
        run_demo(tmp_path, "local")
    assert (tmp_path / "precious.txt").read_text() == "mine"
