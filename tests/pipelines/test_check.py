"""`check` finds every kind of damage, says what it costs, and repairs what can be repaired without losing anything."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import ArtifactError, FuseidError, LeaseHeld, StoreError
from fuseid.encoders.fusion import Fusion
from fuseid.pipelines.check import check
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.promote import promote

VECTORS = 60


def newest(folder: Path, pattern: str) -> Path:
    """The file that was written last."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def first_manifest(table: Path) -> Path:
    """Of the newest version, which is listed first."""
    return min((table / "_versions").glob("*.manifest"))


def last_wave(workspace: Any) -> None:
    """Adds an item, so that the newest version of both tables differs from the one before."""
    workspace.ingest_vectors({"new": np.eye(8, dtype=np.float32)[0] + 0.1}, config=workspace.settings(clip=None))


def state(workspace: Any) -> tuple[Any, ...]:
    """What a repair must not change: items with IDs and vectors, and the ledger."""
    rows = workspace.rows()
    shown = {name: (row["sid"], row["codes"], row["tokenizer_id"], row["fused"]) for name, row in rows.items()}
    return shown, workspace.ledger()


@pytest.fixture
def db(fitted: Any) -> Path:
    return Path(fitted.uri())


def found(db: Path, **options: Any) -> dict[str, Any]:
    from fuseid.core.config import Config

    return check(str(db), Config(), **options)


def test_a_whole_database_has_no_damage(fitted, db):
    document = found(db)
    assert document["damages"] == document["repaired"] == []
    assert document["tables"]["contents"]["rows"] == document["tables"]["assignments"]["rows"] == VECTORS
    assert json.loads(json.dumps(document)) == document


def test_a_folder_without_a_database_is_one_line(tmp_path):
    with pytest.raises(StoreError, match="no fuseid database at"):
        found(tmp_path)


# What is repaired: the damage, where it is found, and what any other command says of it before.


def empty_manifest(table: str) -> Callable[[Any, Path], None]:
    def damage(workspace: Any, db: Path) -> None:
        first_manifest(db / f"{table}.lance").write_bytes(b"")

    return damage


def older_manifest(text: bytes) -> Callable[[Any, Path], None]:
    """Of the oldest version."""

    def damage(workspace: Any, db: Path) -> None:
        max((db / "contents.lance" / "_versions").glob("*.manifest")).write_bytes(text)

    return damage


def tag_cut(workspace: Any, db: Path) -> None:
    dataset = workspace.store().dataset("assignments")
    dataset.tags.create("export-1-1-x", dataset.version)
    (db / "assignments.lance" / "_refs" / "tags" / "export-1-1-x.json").write_bytes(b"")


def torn_wave(workspace: Any, db: Path) -> None:
    """A power cut after Lance's commit and before the flush: the newest version names a file without its bytes."""
    store = workspace.store()
    row = store.dataset("contents").to_table(limit=1)
    store.upsert("contents", row)
    data = newest(db / "contents.lance", "data/*")
    data.write_bytes(data.read_bytes()[:50])


def manifest_cut(workspace: Any, db: Path) -> None:
    workspace.store().upsert("contents", workspace.store().dataset("contents").to_table(limit=1))
    manifest = first_manifest(db / "contents.lance")
    manifest.write_bytes(manifest.read_bytes()[: manifest.stat().st_size // 2])


def wave_of_zeros(workspace: Any, db: Path) -> None:
    """As long as it was written, without its bytes."""
    workspace.store().upsert("contents", workspace.store().dataset("contents").to_table(limit=1))
    data = newest(db / "contents.lance", "data/*")
    data.write_bytes(bytes(data.stat().st_size))


def deletions_of_zeros(workspace: Any, db: Path) -> None:
    workspace.store().upsert("contents", workspace.store().dataset("contents").to_table(limit=1))
    deletions = newest(db / "contents.lance", "_deletions/*")
    deletions.write_bytes(bytes(deletions.stat().st_size))


def all_indexes_cut(workspace: Any, db: Path) -> None:
    for index in workspace.store().dataset("contents").describe_indices():
        for path in (db / "contents.lance" / "_indices" / str(index.segments[0].uuid)).iterdir():
            path.write_bytes(path.read_bytes()[:-10])


def data_of_zeros(table: str) -> Callable[[Any, Path], None]:
    def damage(workspace: Any, db: Path) -> None:
        for path in (db / f"{table}.lance" / "data").iterdir():
            path.write_bytes(bytes(path.stat().st_size))

    return damage


def lease_of_the_last_epoch(workspace: Any, db: Path) -> None:
    workspace.store().dataset("lease").update({"epoch": "9223372036854775807"})


def torn_ledger(workspace: Any, db: Path) -> None:
    store = workspace.store()
    ledger = store.dataset("assignments")
    row = ledger.to_table(limit=1).set_column(0, ledger.schema.field(0), pa.array(["cut off"]))
    store.append("assignments", row.to_reader(), ledger.version)
    newest(db / "assignments.lance", "data/*").write_bytes(b"")


def manifest_of_zeros(workspace: Any, db: Path) -> None:
    first_manifest(db / "contents.lance").write_bytes(bytes(700))


def garbage_lease(workspace: Any, db: Path) -> None:
    first_manifest(db / "lease.lance").write_bytes(b"?" * 500)


def lease_without_data(workspace: Any, db: Path) -> None:
    shutil.rmtree(db / "lease.lance" / "data")
    (db / "lease.lance" / "data").mkdir()


def runs_are_gone(workspace: Any, db: Path) -> None:
    shutil.rmtree(db / "runs.lance")


def runs_without_data(workspace: Any, db: Path) -> None:
    for path in (db / "runs.lance" / "data").iterdir():
        path.unlink()


def index_file_gone(table: str) -> Callable[[Any, Path], None]:
    def damage(workspace: Any, db: Path) -> None:
        index = workspace.store().dataset(table).describe_indices()[0]
        next((db / f"{table}.lance" / "_indices" / str(index.segments[0].uuid)).iterdir()).unlink()

    return damage


def index_of_zeros(workspace: Any, db: Path) -> None:
    for path in (db / "contents.lance").glob("_indices/*/*"):
        path.write_bytes(bytes(path.stat().st_size))


def vector_index_cut(workspace: Any, db: Path) -> None:
    maintain(workspace.store(), vector_rows=20)
    for index in workspace.store().dataset("contents").describe_indices():
        if index.field_names == ["fused"]:
            for path in (db / "contents.lance" / "_indices" / str(index.segments[0].uuid)).iterdir():
                path.write_bytes(path.read_bytes()[:-10])


def stale_copies(workspace: Any, db: Path) -> None:
    workspace.store().update("contents", {"sid": "NULL", "tokenizer_id": "NULL"}, "content_id < 'v010'")


def other_copies(workspace: Any, db: Path) -> None:
    workspace.store().update("contents", {"sid": "'0-0.77'"}, "content_id = 'v003'")


def other_codes(workspace: Any, db: Path) -> None:
    store = workspace.store()
    row = store.dataset("contents").to_table(filter="content_id = 'v003'")
    place = row.schema.get_field_index("codes")
    store.upsert("contents", row.set_column(place, row.schema.field("codes"), pa.array([[9, 9]], pa.list_(pa.int32()))))


def fused_by_another_fusion(workspace: Any, db: Path) -> None:
    store = workspace.store()
    rows = store.dataset("contents").to_table(filter="content_id >= 'v020'")
    turned = np.asarray(rows["fused"].to_pylist(), np.float32)[:, ::-1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(turned.reshape(-1)), turned.shape[1])
    store.upsert("contents", rows.set_column(rows.schema.get_field_index("fused"), rows.schema.field("fused"), column))


def fusion_of_another_fit(workspace: Any, db: Path) -> None:
    """What a late fit left before settings were written by compare-and-set."""
    workspace.ingest_vectors({f"o{i}": np.random.default_rng(i).normal(size=8) for i in range(20)}, db="other")
    workspace.fit("other")
    name = workspace.store("other").setting("fusion")
    shutil.copytree(Path(workspace.uri("other")) / "artifacts" / name, db / "artifacts" / name)
    workspace.store().put_settings({"fusion": name}, workspace.store().settings())


def good_and_rejected(workspace: Any, db: Path) -> None:
    store = workspace.store()
    row = {"content_id": "v001", "attempts": 1, "error_class": "CorruptMedia"}
    store.upsert("rejected", pa.Table.from_pylist([row], schema=store.dataset("rejected").schema))


@pytest.mark.parametrize(
    ("damage", "where", "said"),
    [
        (empty_manifest("contents"), "contents", "the table contents .* is damaged: .*fuseid check --db .* --repair"),
        (empty_manifest("assignments"), "assignments", "the table assignments of .* is damaged"),
        (empty_manifest("rejected"), "rejected", "the table rejected of .* is damaged"),
        (empty_manifest("runs"), "runs", "the table runs of .* is damaged"),
        (empty_manifest("lease"), "lease", "the table lease of .* is damaged"),
        (manifest_of_zeros, "contents", "the table contents .*: the manifest of its newest version holds"),
        (garbage_lease, "lease", "the table lease of .* is damaged"),
        (lease_without_data, "lease", "the table lease of .* is damaged"),
        (runs_are_gone, "runs", "no fuseid database|damaged"),
        (runs_without_data, "runs", "the table runs of .* is damaged"),
        (older_manifest(b""), "contents", r"the table contents .*: _versions/\d+.manifest cannot be read"),
        (older_manifest(b"?" * 900), "contents", "the table contents of .* is damaged: _versions/"),
        (older_manifest(bytes(900)), "contents", ""),
        (tag_cut, "assignments", "the table assignments .*: _refs/tags/export-1-1-x.json cannot"),
        (manifest_cut, "contents", "the table contents .* is damaged"),
        (wave_of_zeros, "contents", ""),
        (deletions_of_zeros, "contents", ""),
        (all_indexes_cut, "contents, index ", "the table contents .* is damaged: _indices/"),
        (data_of_zeros("lease"), "lease", ""),
        (data_of_zeros("runs"), "runs", ""),
        (lease_of_the_last_epoch, "lease", ""),
        (torn_wave, "contents", r"the table contents of .* is damaged: data/\S+ has 50 bytes of \d+"),
        (torn_ledger, "assignments", r"the table assignments of .* is damaged: data/\S+ is empty"),
        (index_file_gone("contents"), "contents, index ", r"the table contents of .* is damaged: _indices/"),
        (index_file_gone("assignments"), "assignments, index ", r"the table assignments of .* is damaged: _indices/"),
        (index_of_zeros, "contents, index ", ""),
        (vector_index_cut, "contents, index fused_idx", "the table contents of .* is damaged: _indices/"),
        (stale_copies, "contents", ""),
        (other_codes, "contents", ""),
        (fused_by_another_fusion, "contents", "'v020' for one.* have fused vectors that are not of fusion-"),
        (fusion_of_another_fit, "setting fusion", "was fitted on vectors of fusion-.* its setting `fusion` is fusion-"),
        (good_and_rejected, "rejected", ""),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_damage_is_found_named_by_a_job_and_repaired(fitted, db, damage, where, said):
    last_wave(fitted)
    before = state(fitted)
    damage(fitted, db)
    damages = found(db)["damages"]
    assert damages
    assert damages[0]["where"].startswith(where)
    assert {one["remedy"] for one in damages} == {f"`fuseid check --db {db} --repair`"}
    if said:
        with pytest.raises(FuseidError, match=said) as caught:
            last_wave(fitted)
        assert "\n" not in str(caught.value)
        assert ".rs" not in str(caught.value)
    document = found(db, repair=True)
    assert document["damages"] == []
    assert document["repaired"][: len(damages)] == damages
    last_wave(fitted)
    assert state(fitted) == before
    assert found(db)["damages"] == []
    assert fitted.store().dataset("lease").to_table()["holder"].to_pylist() == [""]


# What only a backup repairs


def ledger_data_gone(workspace: Any, db: Path) -> None:
    """Rows of the first fit, on which everything since was built."""
    oldest = min((db / "assignments.lance" / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    oldest.unlink()


def ledger_gone(workspace: Any, db: Path) -> None:
    shutil.rmtree(db / "assignments.lance")


def contents_cut(workspace: Any, db: Path) -> None:
    for path in (db / "contents.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:-100])


def tokenizer_altered(workspace: Any, db: Path) -> None:
    (path,) = (db / "artifacts").glob("rq-kmeans-*/artifact.json")
    path.write_text(path.read_text().replace('"beam": 5', '"beam": 4'))


def fusion_gone(workspace: Any, db: Path) -> None:
    shutil.rmtree(next((db / "artifacts").glob("fusion-*")))


def item_twice(workspace: Any, db: Path) -> None:
    dataset = workspace.store().dataset("contents")
    lance.write_dataset(dataset.to_table(limit=1, columns=dataset.schema.names), dataset.uri, mode="append")


def id_twice(workspace: Any, db: Path) -> None:
    dataset = workspace.store().dataset("assignments")
    row = dataset.to_table(filter="content_id = 'v001'")
    lance.write_dataset(row.set_column(0, row.schema.field(0), pa.array(["double"])), dataset.uri, mode="append")


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (ledger_data_gone, "assignments", "of its files are not as they were written"),
        (ledger_gone, "assignments", "missing"),
        (contents_cut, "contents", "of its files are not as they were written"),
        (tokenizer_altered, "artifact rq-kmeans-", "was altered"),
        (fusion_gone, "setting fusion|artifact", "holds no fusion-"),
        (item_twice, "contents", "1 items are there more than once"),
        (id_twice, "assignments", r"1 IDs under rq-kmeans-\w+ belong to two items"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_damage_that_costs_data_names_the_backup_and_is_left_alone(fitted, db, damage, where, what):
    damage(fitted, db)
    for options in ({}, {"repair": True}):
        document = found(db, **options)
        assert document["repaired"] == []
        lines = [f"{one['where']}: {one['what']} [{one['remedy']}]" for one in document["damages"]]
        assert any(line.startswith(tuple(where.split("|"))) and "restore a backup" in line for line in lines), lines
        assert any(re.search(what, line) for line in lines), lines


@pytest.mark.parametrize("damage", [ledger_data_gone, contents_cut, tokenizer_altered, fusion_gone])
@pytest.mark.slow
def test_an_ingest_with_nothing_new_does_not_pass_over_damage(fitted, db, cluster, damage):
    damage(fitted, db)
    with pytest.raises((StoreError, ArtifactError)):
        fitted.ingest_vectors(cluster(VECTORS))


# The ledger and the IDs that contents shows


@pytest.fixture
def older_ledger(fitted: Any, db: Path, cluster: Any, tmp_path: Path) -> Any:
    """A ledger of before the last run beside `contents` of after it, as a copy across that run leaves them."""
    shutil.copytree(db / "assignments.lance", tmp_path / "old")
    fitted.ingest_vectors(cluster(VECTORS) | cluster(40, seed=1, prefix="w"))
    shutil.rmtree(db / "assignments.lance")
    shutil.copytree(tmp_path / "old", db / "assignments.lance")
    return fitted


def test_a_ledger_older_than_contents_is_refused_before_it_gives_an_id_twice(older_ledger, cluster):
    more = cluster(VECTORS) | cluster(40, seed=1, prefix="w") | cluster(40, seed=2, prefix="x")
    with pytest.raises(StoreError, match=r"ledger of .* is older than its contents.*fuseid check --db .* --repair"):
        older_ledger.ingest_vectors(more)
    assert set(older_ledger.ledger()) == set(cluster(VECTORS))


def test_the_ids_that_contents_shows_are_taken_into_an_older_ledger(older_ledger, db, cluster):
    before = older_ledger.ids()
    (damage,) = found(db)["damages"]
    assert damage["where"] == "assignments"
    assert "the IDs that 40 items show" in damage["what"]
    document = found(db, repair=True)
    assert document["damages"] == []
    assert older_ledger.ledger() == before
    more = cluster(VECTORS) | cluster(40, seed=1, prefix="w") | cluster(40, seed=2, prefix="x")
    older_ledger.ingest_vectors(more)
    ids = older_ledger.ids()
    assert {name: ids[name] for name in before} == before
    assert len(set(ids.values())) == len(ids) == VECTORS + 80


@pytest.mark.slow
def test_an_id_that_another_item_has_is_not_taken_in(older_ledger, db, cluster):
    """The older ledger has gone on: it has given IDs that `contents` shows to other items."""
    store = older_ledger.store()
    ids = older_ledger.ids()
    ledger = store.dataset("assignments")
    row = ledger.to_table(limit=1).to_pylist()[0] | {"content_id": "stranger", "sid": ids["w000"], "fused_fp": "other"}
    base, _, digit = ids["w000"].partition(".")
    row |= {"base": base, "codes": [int(code) for code in base.split("-")], "suffix": int(digit) if digit else None}
    store.append("assignments", pa.Table.from_pylist([row], schema=ledger.schema).to_reader(), ledger.version)
    document = found(db, repair=True)
    (damage,) = document["damages"]
    assert "1 items show an ID that the ledger gave to another item, 'w000'" in damage["what"]
    assert damage["remedy"].endswith("--repair --accept-lost-ids` goes on without them")
    assert set(older_ledger.ledger()) == {*cluster(VECTORS), *cluster(40, prefix="w"), "stranger"} - {"w000"}
    assert found(db, repair=True, accept_lost_ids=True)["damages"] == []
    older_ledger.ingest_vectors(cluster(VECTORS) | cluster(40, seed=1, prefix="w"))
    new = older_ledger.ids()
    assert new["w000"] not in (None, ids["w000"])
    assert {name: new[name] for name in ids if name != "w000"} == {name: ids[name] for name in ids if name != "w000"}


@pytest.mark.slow
def test_ids_of_a_tokenizer_that_an_older_ledger_does_not_know_are_kept(fitted, db, cluster, tmp_path):
    """The ledger is from before a promote: `contents` holds the only copy of the champion's IDs."""
    fitted.fit(tokenizer={"seed": 7})
    candidate = fitted.candidate()
    shutil.copytree(db / "assignments.lance", tmp_path / "old")
    promote(str(db), candidate, fitted.settings())
    fitted.ingest_vectors(cluster(VECTORS) | cluster(30, seed=1, prefix="w"))
    before = fitted.ids()
    shutil.rmtree(db / "assignments.lance")
    shutil.copytree(tmp_path / "old", db / "assignments.lance")
    with pytest.raises(StoreError, match="is older than its contents"):
        fitted.ingest_vectors(cluster(VECTORS))
    assert found(db, repair=True)["damages"] == []
    assert fitted.ledger(candidate) == before
    promote(str(db), candidate, fitted.settings())
    fitted.ingest_vectors(cluster(VECTORS) | cluster(30, seed=1, prefix="w") | cluster(30, seed=2, prefix="x"))
    ids = fitted.ids()
    assert {name: ids[name] for name in before} == before
    assert len(set(ids.values())) == len(ids)


@pytest.mark.slow
def test_a_ledger_that_has_forgotten_ids_is_refused_until_that_is_accepted(older_ledger, db, cluster):
    """The items whose IDs it does not know were pruned since."""
    older_ledger.store().delete("contents", sorted(cluster(40, prefix="w")))
    assert len(older_ledger.rows()) == VECTORS
    for options in ({}, {"repair": True}):
        (damage,) = found(db, **options)["damages"]
        assert damage["what"] == "the ledger has 60 rows and had 100 when contents copied IDs: it is older"
        assert damage["remedy"].startswith(
            "restore a backup: `fuseid restore --db NEW_DB --from BACKUP`; or `fuseid check --db "
        )
        with pytest.raises(StoreError, match="is older than its contents"):
            older_ledger.ingest_vectors(cluster(VECTORS))
    assert found(db, repair=True, accept_lost_ids=True)["damages"] == []
    older_ledger.ingest_vectors(cluster(VECTORS))


@pytest.mark.parametrize("column", ["sid", "base", "suffix"])
@pytest.mark.slow
def test_a_row_of_the_ledger_that_contradicts_itself_is_not_copied(fitted, db, column):
    before = fitted.ids()
    value = {"sid": "'3-2.99'", "base": "'3-2'", "suffix": "98"}[column]
    fitted.store().update("assignments", {column: value}, "content_id = 'v003'")
    for options in ({}, {"repair": True}):
        (damage,) = found(db, **options)["damages"]
        assert damage["what"].startswith("in 1 rows the ID is not that of the codes and the digit, of 'v003'")
    assert fitted.ids() == before


@pytest.mark.slow
def test_another_id_than_the_ledgers_is_no_stale_copy(fitted, db):
    """Which of the two was exported cannot be known."""
    before = fitted.ids()
    fitted.store().update("contents", {"sid": f"'{before['v004']}77'"}, "content_id = 'v003'")
    (damage,) = found(db, repair=True)["damages"]
    assert damage["what"] == "1 items show another ID than the ledger gave them"
    with pytest.raises(StoreError, match=r"'v003' of .* shows the ID .*, which the ledger did not give it"):
        last_wave(fitted)
    assert found(db, repair=True, accept_lost_ids=True)["damages"] == []
    assert fitted.ids() == before


def test_a_missing_contents_table_is_reported(fitted, db):
    shutil.rmtree(db / "contents.lance")
    (damage,) = found(db)["damages"]
    assert (damage["where"], damage["what"]) == ("contents", "it is missing")


@pytest.mark.parametrize(("table", "column"), [("contents", "sid"), ("contents", "caption"), ("assignments", "base")])
@pytest.mark.slow
def test_a_column_that_is_gone_is_named_by_check_and_by_a_job(fitted, db, cluster, table, column):
    fitted.store().dataset(table).drop_columns([column])
    (damage, *_) = found(db)["damages"]
    assert (damage["where"], damage["what"]) == (table, f"it lacks the column {column}")
    with pytest.raises(StoreError, match=f"the table {table} of .* is damaged: it lacks the column {column}"):
        fitted.ingest_vectors(cluster(VECTORS))


@pytest.mark.slow
def test_an_index_that_leads_to_other_rows_is_made_again(fitted, db):
    """A key was overwritten in place, which does not change the length."""
    index = next(one for one in fitted.store().dataset("assignments").describe_indices() if one.field_names == ["base"])
    pages = db / "assignments.lance" / "_indices" / str(index.segments[0].uuid) / "page_data.lance"
    data, base = pages.read_bytes(), fitted.ids()["v003"].partition(".")[0].encode()
    assert base in data
    pages.write_bytes(data.replace(base, b"9-9"))
    (damage,) = found(db)["damages"]
    assert damage["where"] == f"assignments, index {index.name}"
    assert found(db, repair=True)["damages"] == []


def test_without_a_recorded_size_of_the_ledger_an_older_ledger_is_refused(fitted, db, older_ledger, cluster):
    dataset = fitted.store().dataset("contents")
    dataset.delete_config_keys(["fuseid.ledger_rows"])
    with pytest.raises(StoreError, match="is older than its contents"):
        fitted.ingest_vectors(cluster(VECTORS))


# When a repair may run, and what it records


@pytest.mark.slow
def test_a_repair_is_refused_while_the_lease_is_held(fitted, db):
    stale_copies(fitted, db)
    with Lease(fitted.store()), pytest.raises(LeaseHeld):
        found(db, repair=True)
    assert len(found(db)["damages"]) == 1


def test_early_repairs_are_refused_while_another_job_writes(fitted, db):
    with Lease(fitted.store()):
        first_manifest(db / "rejected.lance").write_bytes(b"")
        with pytest.raises(LeaseHeld):
            found(db, repair=True)
        shutil.rmtree(db / "rejected.lance")


def test_a_repair_has_a_row_in_runs(fitted, db):
    stale_copies(fitted, db)
    found(db, repair=True)
    row = fitted.store().dataset("runs").to_table().sort_by("started_at").to_pylist()[-1]
    assert (row["job"], row["outcome"], json.loads(row["counts"])) == ("check", "done", {"repaired": 1})


def test_a_tag_whose_version_is_gone_is_found(fitted, db, tmp_path):
    tag = export_ids(str(db), tmp_path / "ids")["tag"]
    fitted.store().dataset("contents").tags.delete(tag)
    (damage,) = found(db)["damages"]
    assert damage["where"] == f"tag {tag}"
    assert damage["remedy"] == f"`fuseid export tags --db {db} --remove {tag}`"


def test_fused_vectors_are_fused_again_by_the_fusion_in_force(fitted, db):
    before = state(fitted)
    fused_by_another_fusion(fitted, db)
    assert state(fitted) != before
    (damage,) = found(db, repair=True)["repaired"]
    assert damage["what"].startswith(f"40 fused vectors are not of {fitted.store().setting('fusion')}")
    assert state(fitted) == before
    assert fitted.store().get_artifact(Fusion, fitted.store().setting("fusion")).dim == 8
