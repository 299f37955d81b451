"""Databases of earlier releases, before and after an upgrade: nothing is damaged, no ID moves, exports are repeated,
look-ups find the same, and new items are taken in."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fuseid.core.config import Config
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.explain import explain
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.reports.document import report
from fuseid.pipelines.restore import restore
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.upgrade import upgrade

DATA = Path(__file__).parents[1] / "data"
FROZEN = sorted((DATA / "frozen").glob("*.tar.gz"))
CONFIG = Config.model_validate(
    {
        "clip": {"model": "fake:16"}, "decode": {"workers": 1}, "fusion": {"dim": 8},
        "tokenizer": {"codebook_sizes": [4, 3], "iterations": 5},
    }
)  # fmt: skip


@pytest.fixture(params=FROZEN, ids=lambda path: path.name.removesuffix(".tar.gz"))
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def ids_of(db: Path) -> dict[str, str | None]:
    rows = Store.open(db).dataset("contents").to_table(columns=["content_id", "sid"])
    return dict(zip(rows["content_id"].to_pylist(), rows["sid"].to_pylist(), strict=True))


def test_the_frozen_databases_are_small_and_of_every_kind() -> None:
    names = {path.name.removesuffix(".tar.gz") for path in FROZEN}
    schemas = {name.split("-")[1] for name in names}
    assert names == {
        f"schema-{schema}-{kind}" for schema in schemas for kind in ("no-ids", "ids", "two-tokenizers", "vectors")
    }
    assert max(path.stat().st_size for path in FROZEN) <= 300 << 10


def readings(db: Path) -> dict[str, Any]:
    """What readers find, by command."""
    ids, catalog = ids_of(db), Catalog.open(db, CONFIG)
    found: dict[str, Any] = {"ids": ids, "damages": check(str(db), CONFIG)["damages"]}
    has_ids = None not in ids.values()
    # A picture, or a caption and a ready-made vector. Before the first fit, captions are not comparable with pictures.
    for content_id in (min(ids), max(ids)) if has_ids else [min(ids)]:
        found[f"like {content_id}"] = catalog.search(like=content_id, k=9)
        found[f"explain {content_id}"] = explain(db, content_id)
        # Of ready-made vectors a database has had it since schema 4.
        found[f"explain {content_id}"]["fingerprints"].pop("external_fp", None)
    found["text"] = catalog.search(text="a dog", k=9)
    if has_ids:
        found["sid"] = catalog.search(sid="1", k=9)
        found["report"] = report(str(db), sample=40, queries=20)
        del found["report"]["made_at"], found["report"]["versions"]
    return found


@pytest.mark.slow
def test_readers_find_the_same_before_and_after_an_upgrade(frozen: Path) -> None:
    before = readings(frozen / "db")
    assert before["damages"] == []
    upgrade(str(frozen / "db"), CONFIG)
    assert readings(frozen / "db") == before


@pytest.mark.slow
def test_an_upgraded_database_takes_new_items_and_no_id_moves(frozen: Path) -> None:
    db, before = frozen / "db", ids_of(frozen / "db")
    upgrade(str(db), CONFIG)
    manifest = frozen / "media" / "manifest.jsonl"
    # Made elsewhere, so the files have other times; their bytes are known.
    run = ingest(str(db), open_source(manifest), CONFIG, LocalRunner())
    assert run.rejected.total() <= 1
    assert ids_of(db) == before
    with manifest.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"content_id": f"n{i}", "caption": f"a new cloud {i}"}) + "\n" for i in range(9))
    if None in before.values():
        fit(str(db), CONFIG)
    ingest(str(db), open_source(manifest), CONFIG, LocalRunner())
    after = ids_of(db)
    assert None not in after.values()
    assert len(set(after.values())) == len(after) == len(before) + 9
    assert all(sid in (None, after[name]) for name, sid in before.items())
    assert Catalog.open(db, CONFIG).search(like="n3", k=3).num_rows == 3
    assert check(str(db), CONFIG)["damages"] == []


@pytest.mark.slow
def test_an_export_of_a_frozen_database_is_repeated_also_upgraded_and_from_backups(frozen: Path) -> None:
    """In `before` the backup was made before the upgrade, in `after` after it."""
    if not (frozen / "export").exists():
        pytest.skip("it has no IDs to export")
    for name in ("before", "after"):
        backup(str(frozen / "db"), str(frozen / f"backup-{name}"))
        restore(str(frozen / f"backup-{name}"), str(frozen / name))
        upgrade(str(frozen / "db"), CONFIG)
    restore(str(frozen / "backup-before"), str(frozen / "upgraded"))
    upgrade(str(frozen / "upgraded"), CONFIG)
    for db in ("db", "before", "after", "upgraded"):
        manifest = json.loads((frozen / "export" / "manifest.json").read_text())
        made = export_ids(str(frozen / db), frozen / f"again-{db}", manifest=frozen / "export" / "manifest.json")
        assert made == manifest
        for path in (frozen / "export").iterdir():
            assert (frozen / f"again-{db}" / path.name).read_bytes() == path.read_bytes()
