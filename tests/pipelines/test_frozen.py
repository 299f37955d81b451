"""Databases of earlier releases: nothing is damaged, no ID moves, exports are repeated, and new items are taken in."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from fuseid.core.config import Config
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.restore import restore
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.store import Store

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
    kinds = {path.name.removesuffix(".tar.gz").split("-", 2)[2] for path in FROZEN}
    assert kinds == {"no-ids", "ids", "two-tokenizers"}
    assert max(path.stat().st_size for path in FROZEN) <= 300 << 10


def test_a_frozen_database_has_no_damage(frozen: Path) -> None:
    assert check(str(frozen / "db"), CONFIG)["damages"] == []


@pytest.mark.slow
def test_a_frozen_database_takes_new_items_and_no_id_moves(frozen: Path) -> None:
    db, before = frozen / "db", ids_of(frozen / "db")
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
def test_an_export_of_a_frozen_database_is_repeated_also_from_a_backup(frozen: Path) -> None:
    if not (frozen / "export").exists():
        pytest.skip("it has no IDs to export")
    backup(str(frozen / "db"), str(frozen / "backup"))
    restore(str(frozen / "backup"), str(frozen / "copy"))
    for db in ("db", "copy"):
        manifest = json.loads((frozen / "export" / "manifest.json").read_text())
        made = export_ids(str(frozen / db), frozen / f"again-{db}", manifest=frozen / "export" / "manifest.json")
        assert made == manifest
        for path in (frozen / "export").iterdir():
            assert (frozen / f"again-{db}" / path.name).read_bytes() == path.read_bytes()
