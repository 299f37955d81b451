"""An upgrade moves no row, ID or index; a database of an earlier version is read and not written to; a newer one is
refused."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pytest

from fuseid.core import schemas
from fuseid.core.config import Config
from fuseid.core.errors import DamagedTable, LeaseHeld, StoreError
from fuseid.core.schemas import SCHEMA_VERSION
from fuseid.pipelines.assign import assign
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.explain import explain
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.promote import promote
from fuseid.pipelines.rejected import rejected, retry
from fuseid.pipelines.remove import remove
from fuseid.pipelines.restore import restore
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.indexes import unindexed_rows
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import TABLES
from fuseid.pipelines.upgrade import STEPS, upgrade

FROZEN = sorted((Path(__file__).parents[1] / "data" / "frozen").glob("schema-3-*.tar.gz"))
CONFIG = Config.model_validate({"clip": {"model": "fake:16"}, "decode": {"workers": 1}})
VECTORS = 40


def unpacked(kind: str, folder: Path) -> str:
    with tarfile.open(next(path for path in FROZEN if path.name == f"schema-3-{kind}.tar.gz")) as archive:
        archive.extractall(folder, filter="data")
    return str(folder / "db")


@pytest.fixture
def old(tmp_path: Path) -> str:
    """A database of version 3 with ready-made vectors and IDs."""
    return unpacked("vectors", tmp_path)


def versions(db: str) -> dict[str, int]:
    """The newest version of every table, the lease and `runs` included."""
    return {name: lance.dataset(f"{db}/{name}.lance").version for name in TABLES}


def indexes(contents: lance.LanceDataset) -> list[tuple[str, list[str]]]:
    return [(index.name, [str(part.uuid) for part in index.segments]) for index in contents.describe_indices()]


@pytest.mark.parametrize("kind", [path.name.removesuffix(".tar.gz").split("-", 2)[2] for path in FROZEN])
def test_only_fingerprints_of_vectors_move_and_rows_ids_and_indexes_stay(kind: str, tmp_path: Path) -> None:
    store = Store.open(unpacked(kind, tmp_path))
    before = store.dataset("contents")
    rows, guarded = before.to_table(with_row_id=True), versions(store.uri)
    run = upgrade(store.uri, CONFIG)
    after = store.dataset("contents")
    now = after.to_table(with_row_id=True)
    kept = [name for name in rows.schema.names if name != "source_stat"]
    assert now.select(kept) == rows.select(kept)
    stats = rows["source_stat"].to_pylist()
    fingerprints = [stat.removeprefix("vector=") if (stat or "").startswith("vector=") else None for stat in stats]
    assert run.counts == {"rows": len(rows), "changed": len(stats) - fingerprints.count(None)}
    assert now["source_stat"].to_pylist() == [
        stat if fingerprint is None else "vectors:external:"
        for stat, fingerprint in zip(stats, fingerprints, strict=True)
    ]
    added = {*now.schema.names} - {*rows.schema.names}
    assert added == ({"external_fp"} if kind == "vectors" else set())
    if added:
        assert now["external_fp"].to_pylist() == fingerprints
    assert (indexes(after), after.config()) == (indexes(before), before.config())
    assert after.schema.field("content_id").metadata == before.schema.field("content_id").metadata
    assert set(unindexed_rows(store).values()) == {0}
    assert {name for name, version in versions(store.uri).items() if version != guarded[name]} == {
        "contents", "lease", "runs",
    }  # fmt: skip
    assert store.schema_version() == str(SCHEMA_VERSION)
    assert check(store.uri, CONFIG)["damages"] == []


def test_a_current_database_and_an_empty_one_have_nothing_to_upgrade_and_nothing_is_written(
    old: str, tmp_path: Path
) -> None:
    upgrade(old, CONFIG)
    before = versions(old)
    with Lease(Store.open(old)):
        assert upgrade(old, CONFIG).notes == [
            f"{old} has schema version {SCHEMA_VERSION}, the present one; nothing to upgrade"
        ]
    assert {**versions(old), "lease": 0} == {**before, "lease": 0}
    empty = Store.create(tmp_path / "empty").uri
    assert upgrade(empty, CONFIG).notes == [f"{empty} is empty; nothing to upgrade"]
    assert Store.open(empty).dataset("runs").count_rows() == 0


def test_an_upgrade_is_refused_while_another_job_writes(old: str) -> None:
    with Lease(Store.open(old)), pytest.raises(LeaseHeld):
        upgrade(old, CONFIG)
    assert Store.open(old).schema_version() == "3"


# Until the upgrade: reading works, also if one was begun, and writing is refused before anything is written.


def set_version(db: str, version: str) -> None:
    Store(db).set_schema_version(version)


@pytest.mark.parametrize("version", ["3", "3-to-4"])
def test_until_the_upgrade_readers_work_and_writers_are_refused_with_its_command(
    version: str, old: str, tmp_path: Path
) -> None:
    set_version(old, version)
    before = versions(old)
    assert Catalog.open(old, CONFIG).search(like="v03", k=3).num_rows == 3
    assert explain(old, "v03")["state"] == "in contents"
    assert rejected(old)["items"] == 2
    assert check(old, CONFIG, repair=True)["damages"] == []
    backup(old, str(tmp_path / "backup"))
    candidate = Store.open(old).setting("champion")
    manifest = open_source(tmp_path / "media" / "manifest.jsonl")
    writers: list[Callable[[], Any]] = [
        lambda: ingest(old, manifest, CONFIG, LocalRunner()), lambda: fit(old, CONFIG), lambda: assign(old, CONFIG),
        lambda: promote(old, candidate, CONFIG), lambda: retry(old, CONFIG),
        lambda: ingest(old, Vectors(tmp_path / "media" / "vectors.npy"), CONFIG, LocalRunner()),
        lambda: remove(old, tmp_path / "media" / "vectors.ids.txt", CONFIG),
    ]  # fmt: skip
    for write in writers:
        with pytest.raises(StoreError) as error:
            write()
        assert str(error.value) == (
            f"{old} has schema version {version} and can only be read; `fuseid upgrade --db {old}` upgrades it in "
            f"place to version {SCHEMA_VERSION}"
        )
    assert versions(old) == before


def test_a_restored_backup_of_an_earlier_version_can_be_upgraded(old: str, tmp_path: Path) -> None:
    export_ids(old, tmp_path / "since")
    backup(old, str(tmp_path / "backup"))
    again = str(tmp_path / "again")
    assert restore(str(tmp_path / "backup"), again, [tmp_path / "since"])["ids_from_exports"] == 0
    assert Store.open(again).schema_version() == "3"
    assert upgrade(again, CONFIG).counts["changed"] == VECTORS


def test_a_reader_that_began_before_an_upgrade_goes_on(old: str) -> None:
    catalog = Catalog.open(old, CONFIG)
    pinned = Store.open(old).dataset("contents")
    before, rows = catalog.search(like="v03", k=5), pinned.to_table()
    upgrade(old, CONFIG)
    assert catalog.search(like="v03", k=5) == before
    assert pinned.to_table() == rows


def test_vectors_that_were_stored_before_an_upgrade_are_known_after_it(old: str, tmp_path: Path) -> None:
    store = Store.open(old)
    ids = store.dataset("assignments").to_table()
    upgrade(old, CONFIG)
    media, no_models = tmp_path / "media", CONFIG.model_copy(update={"clip": None})
    # v01 has another vector in the Parquet file, which was ingested last.
    run = ingest(old, Vectors(media / "vectors.npy"), no_models, LocalRunner())
    assert (run.counts["unchanged"], run.counts["committed"]) == (VECTORS - 1, 1)
    # Version 3 did not record what a file said about an item, so that is written again once.
    run = ingest(old, Vectors(media / "vectors.parquet"), no_models, LocalRunner())
    assert run.counts["unchanged"] == 0
    run = ingest(old, Vectors(media / "vectors.parquet"), no_models, LocalRunner())
    assert run.counts["unchanged"] == run.counts["listed"] == 6
    assert store.dataset("assignments").to_table() == ids
    captions = store.dataset("contents").to_table(columns=["caption"], filter="content_id IN ('v00', 'v06')")
    assert sorted(captions["caption"].to_pylist(), key=str) == [None, "a chair number 0"]
    assert check(old, CONFIG)["damages"] == []


# Damage.


def test_damaged_rows_are_to_be_repaired_first(old: str) -> None:
    for path in Path(old, "contents.lance", "data").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedTable, match=r"contents of .* is damaged: .*`fuseid check --db \S+ --repair`"):
        upgrade(old, CONFIG)
    assert Store.open(old).schema_version() == "3"


def test_what_an_upgrade_needs_is_repaired_before_it_and_all_else_after_it(old: str) -> None:
    min(Path(old, "rejected.lance", "_versions").glob("*.manifest")).write_bytes(b"")
    with pytest.raises(DamagedTable, match="rejected"):
        upgrade(old, CONFIG)
    for path in Path(old, "contents.lance").glob("_indices/*/*"):
        path.write_bytes(b"")
    with pytest.raises(StoreError, match="`fuseid upgrade --db"):
        check(old, CONFIG, repair=True)
    upgrade(old, CONFIG)
    # An export's version is never changed, so the index that it had is lost.
    assert {damage["where"].partition("-")[0] for damage in check(old, CONFIG, repair=True)["damages"]} == {
        "tag export"
    }


# Versions that cannot be read.


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("6", "install the fuseid that made it, or a later one"),
        ("5-to-6", "install the fuseid that made it, or a later one"),
        ("2", "ingest into another database"),
        ("none", "ingest into another database"),
    ],
)
def test_a_version_that_cannot_be_read_is_refused_in_one_line_by_every_command(
    version: str, remedy: str, old: str, tmp_path: Path
) -> None:
    set_version(old, version)
    before = versions(old)
    commands: list[Callable[[], Any]] = [
        lambda: upgrade(old, CONFIG), lambda: Catalog.open(old), lambda: explain(old, "v03"),
        lambda: retry(old, CONFIG), lambda: check(old, CONFIG), lambda: check(old, CONFIG, repair=True),
        lambda: fit(old, CONFIG), lambda: backup(old, str(tmp_path / "other")),
        lambda: export_ids(old, tmp_path / "ids"),
    ]  # fmt: skip
    for command in commands:
        with pytest.raises(StoreError) as error:
            command()
        assert str(error.value) == f"{old} has schema version {version}, this fuseid reads 3 to 5; {remedy}"
    assert versions(old) == before
    assert not (tmp_path / "other").exists()


def test_a_backup_of_a_newer_version_is_not_restored(old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(old, "6")
    source = str(tmp_path / "backup")
    with monkeypatch.context() as later:
        later.setattr(schemas, "READABLE_VERSIONS", (*schemas.READABLE_VERSIONS, "6"))
        backup(old, source)
    with pytest.raises(StoreError, match=rf"^{source} has schema version 6, .*; install the fuseid that made it"):
        restore(source, str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_steps_lead_from_every_earlier_version_to_the_present_one() -> None:
    assert (*STEPS, *schemas.CURRENT_VERSIONS) == schemas.READABLE_VERSIONS
