"""Export: the same versions give the same bytes, and nothing half-written is left."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import ArtifactError, BadInput, StoreError
from fuseid.pipelines.export import IDS, export_ids


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_hold_every_item_sorted_and_the_manifest_says_what_they_are(fitted, tmp_path):
    manifest = export_ids(fitted.uri(), tmp_path / "ids")
    store = fitted.store()
    assert json.loads((tmp_path / "ids" / "manifest.json").read_text()) == manifest
    assert (manifest["items"], manifest["items_without_id"]) == (60, 0)
    assert manifest["tokenizer_id"] == store.setting("champion")
    assert manifest["fusion_id"] == store.setting("fusion")
    assert manifest["codebook_sizes"] == [4, 3]
    assert manifest["encoders"] == {"external": None}
    assert manifest["versions"] == {k: v for k, v in store.versions().items() if k in ("contents", "assignments")}
    ((name, facts),) = manifest["files"].items()
    assert facts["rows"] == 60
    assert facts["blake2b"] == hashlib.blake2b((tmp_path / "ids" / name).read_bytes(), digest_size=16).hexdigest()
    table = pq.read_table(tmp_path / "ids" / name)
    assert table.schema.equals(IDS)
    rows = table.to_pylist()
    assert [row["content_id"] for row in rows] == sorted(fitted.rows())
    assert {row["content_id"]: row["sid"] for row in rows} == fitted.ledger()
    for row in rows:
        suffix = "" if row["suffix"] is None else f".{row['suffix']}"
        assert row["sid"] == "-".join(map(str, row["codes"])) + suffix


def test_two_exports_have_the_same_bytes(fitted, tmp_path):
    export_ids(fitted.uri(), tmp_path / "one")
    export_ids(fitted.uri(), tmp_path / "deep" / "er" / "two")
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "deep" / "er" / "two")


def test_another_database_of_the_same_items_has_the_same_ids_file(fitted, cluster, tmp_path):
    config = fitted.settings(clip=None, run={"wave_rows": 7, "block_rows": 3})
    fitted.ingest_vectors(cluster(60), db="other", config=config)
    fitted.fit("other")
    export_ids(fitted.uri(), tmp_path / "one")
    export_ids(fitted.uri("other"), tmp_path / "two")
    assert (tmp_path / "one" / "ids-00000.parquet").read_bytes() == (
        tmp_path / "two" / "ids-00000.parquet"
    ).read_bytes()


def test_deleted_items_are_not_exported_and_a_candidate_may_be(fitted, tmp_path):
    fitted.store().delete("contents", ["v003"])
    fitted.fit(tokenizer={"codebook_sizes": [2, 2]})
    store = fitted.store()
    champion = store.setting("champion")
    (candidate,) = set(store.dataset("assignments").to_table()["tokenizer_id"].to_pylist()) - {champion}
    manifest = export_ids(fitted.uri(), tmp_path / "ids", candidate)
    assert (manifest["tokenizer_id"], manifest["items"], manifest["codebook_sizes"]) == (candidate, 59, [2, 2])


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_not_touched(fitted, tmp_path, kind):
    out = tmp_path / "ids"
    if kind == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(BadInput, match="not an empty folder"):
        export_ids(fitted.uri(), out)
    assert (out / "mine.txt" if kind == "folder" else out).read_text() == "mine"


def test_an_empty_folder_is_taken(fitted, tmp_path):
    (tmp_path / "ids").mkdir()
    assert export_ids(fitted.uri(), tmp_path / "ids")["items"] == 60


def test_a_failed_export_leaves_nothing(fitted, tmp_path):
    # The ledger's data cannot be read: every file of it is cut short.
    for path in (fitted.root / "db" / "assignments.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    (tmp_path / "out").mkdir()
    with pytest.raises((OSError, ValueError, RuntimeError)):
        export_ids(fitted.uri(), tmp_path / "out" / "ids")
    assert list((tmp_path / "out").iterdir()) == []


def test_before_the_fit_there_is_nothing_to_export(bare, cluster, tmp_path):
    bare.ingest_vectors(cluster(5))
    with pytest.raises(StoreError, match="no semantic IDs yet"):
        export_ids(bare.uri(), tmp_path / "ids")
    assert not (tmp_path / "ids").exists()


def test_an_unknown_tokenizer_or_database_is_refused_and_nothing_is_made(fitted, tmp_path):
    with pytest.raises(ArtifactError, match="rq-kmeans-00"):
        export_ids(fitted.uri(), tmp_path / "new" / "ids", "rq-kmeans-00")
    with pytest.raises(StoreError, match="no database"):
        export_ids(fitted.uri("nowhere"), tmp_path / "new" / "ids")
    assert not (tmp_path / "new").exists()
