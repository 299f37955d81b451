"""The public surface: its names, what importing it loads, and a database from pictures to exports through it alone."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fuseid import api
from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.sources.item import SourceItem
from fuseid.pipelines.store.store import Store

NAMES = {
    "Catalog",
    "Config",
    "Facet",
    "Filter",
    "History",
    "IngestPlan",
    "Metric",
    "RunInfo",
    "SemanticId",
    "TokenizerInfo",
    "adopt",
    "assign",
    "compare",
    "drop",
    "export_ids",
    "export_sequences",
    "fit",
    "gate",
    "ingest",
    "ingest_vectors",
    "maintain",
    "metrics",
    "neighbours",
    "open_tokenizer",
    "pairs",
    "plan",
    "promote",
    "remove",
    "rollback",
    "runs",
    "tokenizers",
    "upgrade",
}
SMALL = {
    "clip": {"model": "fake:16"},
    "decode": {"workers": 1},
    "fusion": {"dim": 8},
    "tokenizer": {"codebook_sizes": [4, 3]},
}
PICTURES = 24


@pytest.fixture(scope="module")
def config() -> api.Config:
    return api.Config.model_validate(SMALL)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(generator.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def db(pictures: Path, tmp_path_factory: pytest.TempPathFactory, config: api.Config) -> Path:
    """Ingested and fitted once; no test changes its champion."""
    db = tmp_path_factory.mktemp("api") / "db"
    assert api.ingest(db, pictures, config).counts["committed"] == PICTURES
    assert api.fit(db, config).counts["assigned"] == PICTURES
    return db


def test_the_public_names_are_these_and_each_of_them_can_be_imported() -> None:
    assert set(api.__all__) == set(dir(api)) == NAMES
    assert all(callable(getattr(api, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'Catalogue'"):
        _ = api.Catalogue


@pytest.mark.parametrize("line", ["import fuseid.api", "from fuseid.api import Catalog, Config, SemanticId"])
def test_importing_loads_neither_torch_nor_ray(line: str) -> None:
    script = f"{line}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert not {"torch", "ray", "transformers", "open_clip"} & set(json.loads(done.stdout))


def test_an_id_in_the_catalogue_is_what_the_champion_encodes(db: Path) -> None:
    tokenizer = api.open_tokenizer(db)
    rows = api.Catalog.open(db).items(["0.png", "1.png"], ["content_id", "sid", "fused"])
    found = tokenizer.encode(np.array([row["fused"] for row in rows], np.float32))
    assert [api.SemanticId.parse(row["sid"]).codes for row in rows] == [tuple(codes) for codes in found.tolist()]


def test_a_second_ingest_does_nothing_and_prune_removes_what_a_source_no_longer_lists(
    pictures: Path, tmp_path: Path, config: api.Config
) -> None:
    class Few:
        base = pictures

        def __iter__(self) -> Iterator[SourceItem]:
            for number in range(PICTURES - 2):
                yield SourceItem(f"{number}.png", f"{number}.png")

    planned = api.plan(tmp_path / "db", pictures, config)
    assert (planned.exists, planned.counts["planned_new"], (tmp_path / "db").exists()) == (False, PICTURES, False)
    api.ingest(tmp_path / "db", pictures, config)
    assert api.plan(tmp_path / "db", Few(), config, prune=True).counts["pruned"] == 2
    with pytest.raises(BadInput, match="ready-made vectors with vectors="):
        api.plan(tmp_path / "db", config=config)
    assert api.ingest(tmp_path / "db", Few(), config).counts["unchanged"] == PICTURES - 2
    assert api.ingest(tmp_path / "db", Few(), config, prune=True).counts["pruned"] == 2


def test_removed_items_come_back_with_the_ids_they_had(pictures: Path, tmp_path: Path, config: api.Config) -> None:
    db, listed = tmp_path / "db", tmp_path / "gone.txt"
    api.ingest(db, pictures, config)
    api.fit(db, config)
    ids = {row["content_id"]: row["sid"] for row in api.Catalog.open(db).items(["0.png", "1.png"])}
    listed.write_text("1.png\n")
    assert api.remove(db, ["0.png", "nobody"], config).counts == {"removed": 1, "removed_unknown": 1}
    assert api.remove(db, str(listed)).counts == {"removed": 1, "removed_unknown": 0}
    assert api.ingest(db, pictures, config).counts["planned"] == 2
    assert {row["content_id"]: row["sid"] for row in api.Catalog.open(db).items([*ids])} == ids


def test_another_tokenizer_gives_ids_of_its_own_and_can_become_champion(
    pictures: Path, tmp_path: Path, config: api.Config
) -> None:
    db = tmp_path / "db"
    api.ingest(db, pictures, config)
    with pytest.raises(StoreError, match="has no tokenizer yet"):
        api.open_tokenizer(db)
    api.fit(db, config)
    champion = api.open_tokenizer(db).id
    wider = api.Config.model_validate({**SMALL, "tokenizer": {"codebook_sizes": [6, 3]}})
    api.fit(db, wider)
    (candidate,) = {path.name for path in (db / "artifacts").glob("rq-kmeans-*")} - {champion}
    assert api.open_tokenizer(db).id == champion
    assert api.open_tokenizer(db, candidate).codebook_sizes == (6, 3)
    assert api.assign(db, config, tokenizer=candidate).counts["assigned"] == 0
    assert api.promote(db, candidate, config).job == "promote"
    assert api.open_tokenizer(db).id == candidate


def test_kinds_of_tokenizers_are_compared_without_a_trace(db: Path, config: api.Config) -> None:
    before = api.tokenizers(db)
    rows = api.compare(db, "rq-kmeans,rq-kmeans:seed=3", config)
    assert [(row.name, row.problem) for row in rows] == [("rq-kmeans", None), ("rq-kmeans:seed=3", None)]
    assert api.tokenizers(db) == before


def test_ids_from_elsewhere_are_adopted_and_no_vector_can_be_encoded_without_their_codebooks(
    pictures: Path, tmp_path: Path, config: api.Config
) -> None:
    db = tmp_path / "db"
    api.ingest(db, pictures, config)
    (tmp_path / "ids.csv").write_text("content_id,sid\n" + "".join(f"{n}.png,{n % 4}-{n}\n" for n in range(PICTURES)))
    assert api.adopt(db, tmp_path / "ids.csv", config, sizes=(4, 99)).counts["adopted"] == PICTURES
    assert api.Catalog.open(db).items(["7.png"], ["sid"]) == [{"sid": "3-7"}]
    tokenizer = api.open_tokenizer(db)
    assert tokenizer.codebook_sizes == (4, 99)
    with pytest.raises(BadInput, match="came without codebooks"):
        tokenizer.encode(np.zeros((1, 16), np.float32))


def test_exports_write_ids_and_histories(db: Path, tmp_path: Path) -> None:
    assert api.export_ids(db, tmp_path / "ids")["items"] == PICTURES
    again = api.export_ids(db, tmp_path / "again", manifest=tmp_path / "ids" / "manifest.json")
    assert again["files"] == json.loads((tmp_path / "ids" / "manifest.json").read_text())["files"]
    with (tmp_path / "events.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "content_id", "timestamp"])
        writer.writerows([f"user-{n // 4}", f"{n}.png", 1_700_000_000 + n] for n in range(PICTURES))
    whole = api.export_sequences(db, tmp_path / "events.csv", tmp_path / "whole")
    assert whole["examples"] == {"train": 6, "valid": 6, "test": 6}
    by_time = api.export_sequences(
        db, tmp_path / "events.csv", tmp_path / "by-time", split="by-time", cuts="0.5,0.8", max_history=2
    )
    assert by_time["options"]["max_history"] == 2
    histories = pq.read_table(next((tmp_path / "by-time").glob("part-*.parquet")))["codes"].to_pylist()
    assert max(map(len, histories)) == 2


def test_pairs_of_items_that_the_same_people_use_are_written(db: Path, tmp_path: Path) -> None:
    rows = [f"u{user},{(user + step) % PICTURES}.png,{1_700_000_000 + step}" for user in range(9) for step in range(3)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,content_id,timestamp", *rows]))
    options = {"db": db, "window": 1, "until": "2023-11-15T00:00Z"}
    made = api.pairs(tmp_path / "events.csv", tmp_path / "p.parquet", "window", **options)
    assert made["counts"]["pairs"] == len(pq.read_table(tmp_path / "p.parquet")) > 0
    with pytest.raises(BadInput, match="alpha= belongs to swing"):
        api.pairs(tmp_path / "events.csv", tmp_path / "q.parquet", "window", alpha=1.0)


def test_a_runner_that_is_not_known_is_refused_by_name(pictures: Path, tmp_path: Path, config: api.Config) -> None:
    with pytest.raises(BadInput, match="unknown runner 'slurm'"):
        api.ingest(tmp_path / "db", pictures, config, runner="slurm")


def test_vectors_of_a_name_enter_beside_pictures(db: Path, config: api.Config, tmp_path: Path) -> None:
    shutil.copytree(db, tmp_path / "db")
    np.save(tmp_path / "sound.npy", np.eye(PICTURES, 5, dtype=np.float32) + 0.5)
    (tmp_path / "sound.ids.txt").write_text("".join(f"{number}.png\n" for number in range(PICTURES)))
    run = api.ingest_vectors(tmp_path / "db", tmp_path / "sound.npy", config, name="sound")
    assert run.counts["updated"] == PICTURES
    assert any("sound is stored, not yet fused" in note for note in run.notes)
    rows = Store.open(tmp_path / "db").dataset("contents").to_table(columns=["sound", "clip_image", "sid"])
    assert [rows[name].null_count for name in rows.column_names] == [0, 0, 0]
