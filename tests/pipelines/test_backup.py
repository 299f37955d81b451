"""A backup is one state of a database, made while jobs write; after a restore IDs are kept and none is given twice."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.restore import restore
from fuseid.pipelines.store.id_order import named
from fuseid.pipelines.store.id_order_making import make_id_order, outside
from fuseid.pipelines.store.pins import pinned, remove_expired

_ONES = dict.fromkeys(("assignments", "rejected", "runs"), 1)
_FILES = {f"{name}.lance/_versions/1.manifest": {"bytes": 1} for name in _ONES}
LIST = json.dumps({"format": 1, "made_at": "today", "bytes": 1, "rows": _ONES, "versions": _ONES, "files": _FILES})
SMALL = {"block_rows": 4, "wave_rows": 8, "wave_vectors": 8}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def restored(workspace, name: str, *, to: str = "again", exports=()) -> dict:
    return restore(workspace.uri(name), workspace.uri(to), exports)


def damages(workspace, db: str) -> list:
    return check(workspace.uri(db), Config())["damages"]


def test_a_restored_database_goes_on_with_the_same_ids(fitted, cluster, tmp_path):
    manifest = export_ids(fitted.uri(), tmp_path / "before")
    made = backup(fitted.uri(), fitted.uri("backup"))
    assert made["rows"] == {"contents": 60, "assignments": 60, "rejected": 0, "runs": 2}
    assert restored(fitted, "backup") == {**made, "ids_from_exports": 0}
    assert fitted.rows(db="again") == fitted.rows()
    assert fitted.ledger(db="again") == fitted.ledger()
    assert damages(fitted, "again") == []
    for db in ("db", "again"):
        fitted.ingest_vectors(cluster(60) | cluster(30, seed=1, prefix="w"), db=db)
    assert fitted.ids("again") == fitted.ids()
    # What was exported before the backup is made again from the copy, though both have moved on.
    again = export_ids(fitted.uri("again"), tmp_path / "after", manifest=tmp_path / "before" / "manifest.json")
    assert again == manifest
    assert bytes_of(tmp_path / "after") == bytes_of(tmp_path / "before")


@pytest.mark.slow
def test_backups_made_while_an_ingest_writes_are_each_one_state(fitted, cluster):
    more = cluster(60) | cluster(40, seed=1, prefix="w")
    fitted.ingest_vectors(more, db="db", config=fitted.settings(clip=None, run=SMALL), after_wave=lambda wave: backup(
        fitted.uri(), fitted.uri(f"backup-{wave}")
    ))  # fmt: skip
    backups = sorted(fitted.root.glob("backup-*"))
    assert len(backups) >= 4
    for path in backups:
        db = f"of-{path.name}"
        restored(fitted, path.name, to=db)
        assert damages(fitted, db) == []
        fitted.ingest_vectors(more, db=db)
        assert fitted.ids(db) == fitted.ids()
    assert not [tag for tag in fitted.store().dataset("contents").tags.list() if tag.startswith("pin-")]


@pytest.mark.slow
def test_a_database_without_ids_and_one_without_items_are_copied(bare, cluster):
    bare.ingest_vectors(cluster(10))
    shutil.copytree(bare.uri(), bare.uri("empty"))
    shutil.rmtree(Path(bare.uri("empty")) / "contents.lance")
    for db, rows in (("db", 10), ("empty", None)):
        made = backup(bare.uri(db), bare.uri(f"{db}-backup"))
        assert (made["rows"].get("contents"), made["champion"]) == (rows, None)
        restored(bare, f"{db}-backup", to=f"{db}-again")
        bare.ingest_vectors(cluster(10), db=f"{db}-again")
        assert len(bare.rows(db=f"{db}-again")) == 10


# IDs that were given after the backup


def test_ids_given_since_are_taken_from_an_export_and_not_reused(fitted, cluster, tmp_path):
    backup(fitted.uri(), fitted.uri("backup"))
    later, other = cluster(30, seed=1, prefix="w"), cluster(30, seed=1, prefix="x")
    fitted.ingest_vectors(cluster(60) | later)
    exported = fitted.ids()
    export_ids(fitted.uri(), tmp_path / "ids")
    # The same vectors under other names would get these IDs.
    restored(fitted, "backup", to="unknowing")
    fitted.ingest_vectors(cluster(60) | other, db="unknowing")
    assert set(exported.values()) & {fitted.ids("unknowing")[name] for name in other}
    assert restored(fitted, "backup", exports=[tmp_path / "ids"])["ids_from_exports"] == 30
    assert damages(fitted, "again") == []
    fitted.ingest_vectors(cluster(60) | other, db="again")
    ids = fitted.ids("again")
    assert not set(exported.values()) & {ids[name] for name in other}
    fitted.ingest_vectors(cluster(60) | other | later, db="again")
    assert {name: sid for name, sid in fitted.ids("again").items() if name not in other} == exported


@pytest.mark.slow
def test_several_exports_are_taken_one_after_the_other(fitted, cluster, tmp_path):
    backup(fitted.uri(), fitted.uri("backup"))
    for night in (1, 2):
        fitted.ingest_vectors(cluster(60) | cluster(10 * night, seed=1, prefix="w"))
        export_ids(fitted.uri(), tmp_path / f"ids-{night}")
    made = restored(fitted, "backup", exports=[tmp_path / "ids-1", tmp_path / "ids-2"])
    assert made["ids_from_exports"] == 20
    assert fitted.ledger(db="again") == fitted.ledger()


@pytest.mark.parametrize("kind", ["another database", "another format", "altered", "a later tokenizer"])
@pytest.mark.slow
def test_an_export_that_does_not_fit_is_refused_and_nothing_is_restored(fitted, cluster, tmp_path, kind):
    backup(fitted.uri(), fitted.uri("backup"))
    said = {
        "another database": r"the ID \S+, the backup gives (it|that ID to)|was fitted after the backup",
        "another format": "IDs are taken from exports in parquet",
        "altered": "was altered or cut short",
        "a later tokenizer": "which is newer than the backup",
    }[kind]
    db = "db"
    if kind == "another database":
        restored(fitted, "backup", to="other")
        db = "other"
        fitted.ingest_vectors(cluster(60) | cluster(10, seed=6, prefix="x"), db=db)
        fitted.ingest_vectors(cluster(60) | cluster(10, seed=6, prefix="w"))
        export_ids(fitted.uri(), tmp_path / "first")
    if kind == "a later tokenizer":
        fitted.fit(tokenizer={"seed": 5})
    tokenizer = fitted.candidate() if kind == "a later tokenizer" else None
    export_ids(fitted.uri(db), tmp_path / "ids", "grid" if kind == "another format" else None, tokenizer)
    if kind == "altered":
        with (tmp_path / "ids" / "ids-00000.parquet").open("ab") as file:
            file.write(b"more")
    folders = [tmp_path / "first", tmp_path / "ids"] if kind == "another database" else [tmp_path / "ids"]
    with pytest.raises(BadInput, match=said) as caught:
        restored(fitted, "backup", exports=folders)
    assert "\n" not in str(caught.value)
    assert not Path(fitted.uri("again")).exists()


# What is no backup, and what is damaged


def test_a_file_that_was_altered_is_found_by_its_hash(fitted):
    backup(fitted.uri(), fitted.uri("backup"))
    path = next((fitted.root / "backup" / "contents.lance" / "data").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=rf"damaged: contents.lance/data/{path.name} is not what its backup.json says"):
        restored(fitted, "backup")
    path.unlink()
    with pytest.raises(StoreError, match=r"lacks contents\.lance/data/"):
        restored(fitted, "backup")
    assert not Path(fitted.uri("again")).exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "it has no backup"),
        ("{", "cannot read"),
        ("[1]", "of no backup of format 1"),
        ('{"format": 2}', "of no backup of format 1"),
        ('{"format": 1, "files": {"../outside": {"bytes": 1}}}', "names files that no backup has"),
        ('{"format": 1, "files": {"contents.lance/../../outside": {"bytes": 1}}}', "names files that no backup has"),
        ('{"format": 1, "files": {"contents.lance/data/x": 1}}', "names files that no backup has"),
        ('{"format": 1, "files": {"contents.lance/data/\\u0000": {"bytes": 1}}}', "names files that no backup has"),
        ('{"format": 1, "files": {}}', "does not say which tables it has"),
        (
            '{"format": 1, "files": {}, "rows": {}, "versions": {}}',
            "names no version of a table that every database has",
        ),
        (LIST.replace("1.manifest", "1.manifes"), "names no version of a table"),
        (LIST.replace('"made_at": "today", ', ""), "does not say when it was made"),
        (LIST.replace('"bytes": 1}', '"bytes": "1"}'), "names files that no backup has"),
    ],
)
def test_a_folder_that_is_no_backup_is_refused_in_one_line(bare, text, said):
    folder = bare.root / "backup"
    folder.mkdir()
    if text is not None:
        (folder / "backup.json").write_text(text)
    with pytest.raises(BadInput, match=said):
        restored(bare, "backup")
    assert not Path(bare.uri("again")).exists()


def test_neither_a_backup_nor_a_database_is_overwritten(fitted):
    backup(fitted.uri(), fitted.uri("backup"))
    with pytest.raises(BadInput, match="exists and is not an empty folder; name a new one"):
        backup(fitted.uri(), fitted.uri("backup"))
    with pytest.raises(BadInput, match="exists and is not an empty folder; name a new one"):
        restored(fitted, "backup", to="db")


def test_a_backup_lies_outside_its_database(fitted):
    with pytest.raises(BadInput, match="lies in the database"):
        backup(fitted.uri(), f"{fitted.uri()}/backup")


def test_a_damaged_database_is_not_copied(fitted):
    for path in (fitted.root / "db" / "contents.lance" / "data").iterdir():
        path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"the table contents of .* is damaged: .*fuseid check"):
        backup(fitted.uri(), fitted.uri("backup"))
    assert not (fitted.root / "backup").exists()
    assert not [path for path in fitted.root.iterdir() if path.name.startswith(".backup")]


# Pins


@pytest.mark.slow
def test_versions_that_a_backup_reads_are_not_removed_meanwhile(fitted):
    store = fitted.store()
    dataset = store.dataset("contents")
    with pinned({"contents": dataset}):
        fitted.fit(tokenizer={"seed": 3})
        store.update("contents", {"caption": "'new'"}, "content_id < 'v030'")
        maintain(store, keep_versions=timedelta(0))
        assert dataset.to_table().num_rows == 60
    assert not store.dataset("contents").tags.list()


def test_pins_of_readers_that_were_killed_expire(fitted):
    dataset = fitted.store().dataset("contents")
    for tag in ("pin-1700000000-0badcafe", "pin-4000000000-0badcafe", "export-1-1-x"):
        dataset.tags.create(tag, dataset.version)
    remove_expired(dataset)
    assert sorted(dataset.tags.list()) == ["export-1-1-x", "pin-4000000000-0badcafe"]


def test_the_document_says_where_the_copy_is_from(fitted):
    made = backup(fitted.uri(), fitted.uri("backup"))
    written = json.loads((fitted.root / "backup" / "backup.json").read_text())
    assert written.pop("files").keys() >= {f"artifacts/{made['champion']}/artifact.json"}
    assert written == made
    assert made["db"] == fitted.uri()


# The ID order


def test_a_copy_has_the_id_order_of_its_version(fitted):
    store = fitted.store()
    make_id_order(store, timedelta(days=7))
    make_id_order(store, timedelta(days=7))
    name = named(store.dataset("contents"))["name"]
    backup(fitted.uri(), fitted.uri("backup"))
    restored(fitted, "backup")
    assert [path.name for path in (Path(fitted.uri("again")) / "id_order").iterdir()] == [name]
    assert outside(fitted.store("again"), fitted.store("again").dataset("contents")) == 0
    assert damages(fitted, "again") == []
    assert fitted.catalog("again").children().equals(fitted.catalog().children())


def test_a_database_whose_id_order_is_lost_is_copied_without_it(fitted):
    make_id_order(fitted.store(), timedelta(days=7))
    shutil.rmtree(Path(fitted.uri()) / "id_order")
    backup(fitted.uri(), fitted.uri("backup"))
    restored(fitted, "backup")
    assert not (Path(fitted.uri("again")) / "id_order").exists()
    assert fitted.catalog("again").children().num_rows
    assert [damage["where"] for damage in damages(fitted, "again")] == ["contents, ID order"]
