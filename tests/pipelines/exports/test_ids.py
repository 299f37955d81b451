"""Exports of IDs: the same versions give the same bytes, again at any time, and nothing half-written is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import ArtifactError, BadInput, StoreError
from fuseid.pipelines.exports.folder import file_hash, read_manifest
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.exports.registry import FORMATS
from fuseid.pipelines.exports.snapshot import ITEMS
from fuseid.pipelines.exports.tags import remove_tag, tags
from fuseid.pipelines.promote import promote

from .formats.read_formats import read


def contents_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def candidate_of(workspace: Any) -> str:
    """A second tokenizer, whose IDs are kept beside the champion's."""
    workspace.fit(tokenizer={"codebook_sizes": [2, 2]})
    return workspace.candidate()


def move_on(workspace: Any, cluster: Any) -> None:
    """Removes items, adds items, and promotes another tokenizer."""
    workspace.store().delete("contents", ["v003", "v010"])
    workspace.ingest_vectors(cluster(9, seed=5, prefix="u"))
    promote(workspace.uri(), candidate_of(workspace), workspace.settings())


def test_the_files_hold_every_item_sorted_and_the_manifest_says_what_they_are(fitted, tmp_path):
    manifest = export_ids(fitted.uri(), tmp_path / "ids")
    store = fitted.store()
    assert read_manifest(tmp_path / "ids") == manifest
    assert (manifest["format"], manifest["items"], manifest["items_without_id"]) == ("parquet", 60, 0)
    assert manifest["tokenizer_id"] == store.setting("champion")
    assert manifest["fusion_id"] == store.setting("fusion")
    assert manifest["codebook_sizes"] == manifest["config"]["tokenizer"]["codebook_sizes"] == [4, 3, 2]
    assert manifest["config"]["fusion"]["dim"] == 8
    assert manifest["encoders"] == {"external": None}
    assert manifest["versions"] == {k: v for k, v in store.versions().items() if k in ("contents", "assignments")}
    assert [manifest["tag"]] == tags(fitted.uri())
    ((name, facts),) = manifest["files"].items()
    path = tmp_path / "ids" / name
    assert facts == {"rows": 60, "bytes": path.stat().st_size, "blake2b": file_hash(path)}
    table = pq.read_table(path)
    assert table.schema.equals(ITEMS)
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
    config = fitted.settings(clip=None, run={"wave_rows": 7, "wave_vectors": 7, "block_rows": 3})
    fitted.ingest_vectors(cluster(60), db="other", config=config)
    fitted.fit("other", tokenizer={"codebook_sizes": [4, 3, 2]})
    export_ids(fitted.uri(), tmp_path / "one")
    export_ids(fitted.uri("other"), tmp_path / "two")
    assert (tmp_path / "one" / "ids-00000.parquet").read_bytes() == (
        tmp_path / "two" / "ids-00000.parquet"
    ).read_bytes()


def test_deleted_items_are_not_exported_and_a_candidate_may_be(fitted, tmp_path):
    fitted.store().delete("contents", ["v003"])
    candidate = candidate_of(fitted)
    manifest = export_ids(fitted.uri(), tmp_path / "ids", tokenizer_id=candidate)
    assert (manifest["tokenizer_id"], manifest["items"], manifest["codebook_sizes"]) == (candidate, 59, [2, 2])


def test_every_format_holds_the_same_ids(fitted, tmp_path):
    for name in FORMATS:
        export_ids(fitted.uri(), tmp_path / name, format=name)
        found = read(name, tmp_path / name)
        assert found.equals(read("parquet", tmp_path / "parquet"))
        assert len(found) == 60


def test_a_catalogue_whose_items_were_all_deleted_is_exported_without_rows(fitted, tmp_path):
    fitted.store().delete("contents", sorted(fitted.rows()))
    for name in FORMATS:
        assert export_ids(fitted.uri(), tmp_path / name, format=name)["items"] == 0
        assert len(read(name, tmp_path / name)) == 0


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_existing_folder_is_not_touched(fitted, tmp_path, kind):
    out = tmp_path / "ids"
    if kind == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(BadInput, match="not an empty folder"):
        export_ids(fitted.uri(), out)
    assert (out / "mine.txt" if kind == "folder" else out).read_text() == "mine"


def test_an_empty_folder_is_filled(fitted, tmp_path):
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


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"tokenizer_id": "rq-kmeans-00"}, ArtifactError, "rq-kmeans-00"),
        ({"format": "csv"}, BadInput, "'csv'; there are parquet, grid"),
        ({"since": "export-1-1-rq"}, BadInput, "has no tag 'export-1-1-rq'; there are none"),
        ({"since": "../../x y"}, BadInput, "has no tag"),
        ({"manifest": Path("nowhere.json")}, BadInput, "cannot read the manifest nowhere.json"),
        ({"manifest": Path("m.json"), "format": "grid"}, BadInput, "names the format"),
    ],
)
def test_unknown_names_are_refused_and_nothing_is_made(fitted, tmp_path, asked, error, said):
    with pytest.raises(error, match=said.replace(".", r"\.")):
        export_ids(fitted.uri(), tmp_path / "new" / "ids", **asked)
    with pytest.raises(StoreError, match="no database"):
        export_ids(fitted.uri("nowhere"), tmp_path / "new" / "ids")
    assert not (tmp_path / "new").exists()
    assert tags(fitted.uri()) == []


# Made again


def test_every_format_is_made_again_byte_for_byte_in_a_database_that_has_moved_on(fitted, cluster, tmp_path):
    for name in FORMATS:
        export_ids(fitted.uri(), tmp_path / name, format=name)
    move_on(fitted, cluster)
    for name in FORMATS:
        export_ids(fitted.uri(), tmp_path / "again" / name, manifest=tmp_path / name / "manifest.json")
        assert contents_of(tmp_path / "again" / name) == contents_of(tmp_path / name)


def test_a_version_that_is_gone_is_named_and_nothing_is_made(fitted, cluster, tmp_path):
    tag = export_ids(fitted.uri(), tmp_path / "ids")["tag"]
    move_on(fitted, cluster)
    remove_tag(fitted.uri(), tag)
    fitted.store().dataset("contents").cleanup_old_versions(retain_versions=1)
    with pytest.raises(BadInput, match=r"has no version \d+ of contents"):
        export_ids(fitted.uri(), tmp_path / "again", manifest=tmp_path / "ids" / "manifest.json")
    with pytest.raises(BadInput, match=r"has no tag .*; there are none"):
        export_ids(fitted.uri(), tmp_path / "again", since=tag)
    assert not (tmp_path / "again").exists()


def test_a_manifest_of_another_database_is_refused_even_where_it_has_such_versions(fitted, cluster, tmp_path):
    fitted.ingest_vectors(cluster(60), db="other")
    fitted.fit("other")
    export_ids(fitted.uri(), tmp_path / "ids")
    with pytest.raises(BadInput, match="of another database than"):
        export_ids(fitted.uri("other"), tmp_path / "again", manifest=tmp_path / "ids" / "manifest.json")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"items": 61}, "its items would differ"),
        ({"files": {}}, "its files would differ. It was written by fuseid"),
        ({"versions": {}}, "names no version of contents"),
        ({"versions": {"contents": -1}}, "has no version -1 of contents"),
        ({"format": "sequences"}, "unknown format 'sequences'"),
        ({"tokenizer_id": "../../etc"}, "is not a tokenizer's id"),
        ({"files": None}, "is no manifest"),
    ],
)
def test_a_manifest_with_false_entries_is_refused_and_nothing_is_made(fitted, tmp_path, change, said):
    manifest = export_ids(fitted.uri(), tmp_path / "ids")
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest | change))
    with pytest.raises((BadInput, ArtifactError), match=said.replace(".", r"\.")):
        export_ids(fitted.uri(), tmp_path / "again", manifest=path)
    assert not list(tmp_path.glob("*again*"))


# What has changed since


def ids_of(folder: Path) -> dict[str, str]:
    table = pq.read_table(folder / "ids-00000.parquet")
    return dict(zip(table["content_id"].to_pylist(), table["sid"].to_pylist(), strict=True))


def test_changes_lead_from_the_old_ids_to_the_new_ones_also_across_tokenizers(fitted, cluster, tmp_path):
    before = export_ids(fitted.uri(), tmp_path / "before")
    move_on(fitted, cluster)
    manifest = export_ids(fitted.uri(), tmp_path / "now", since=before["tag"])
    old, new = ids_of(tmp_path / "before"), ids_of(tmp_path / "now")
    rows = pq.read_table(tmp_path / "now" / "changes.parquet").to_pylist()
    assert [row["content_id"] for row in rows] == sorted(row["content_id"] for row in rows)
    assert {row["content_id"]: (row["old_sid"], row["new_sid"]) for row in rows} == {
        name: (old.get(name), new.get(name)) for name in old.keys() | new.keys() if old.get(name) != new.get(name)
    }
    assert manifest["changes"]["added"] == 9
    assert manifest["changes"]["removed"] == 2
    assert manifest["changes"]["changed"] == len(rows) - 11 > 0
    assert manifest["since"]["tag"] == before["tag"]
    assert manifest["since"]["tokenizer_id"] == before["tokenizer_id"] != manifest["tokenizer_id"]
    export_ids(fitted.uri(), tmp_path / "again", manifest=tmp_path / "now" / "manifest.json")
    assert contents_of(tmp_path / "again") == contents_of(tmp_path / "now")


@pytest.mark.parametrize("format", ["grid", "minionerec", "openonerec", "cornac", "sidinspector"])
def test_where_items_are_numbers_all_old_ones_are_mapped_to_the_new(fitted, cluster, tmp_path, format):
    before = export_ids(fitted.uri(), tmp_path / "before", format=format)
    fitted.store().delete("contents", ["v003", "v010"])
    fitted.ingest_vectors(cluster(9, seed=5, prefix="u"))
    export_ids(fitted.uri(), tmp_path / "now", format=format, since=before["tag"])
    numbers = pq.read_table(tmp_path / "now" / "numbers.parquet")
    for side, folder in (("old", "before"), ("new", "now")):
        there = numbers.filter(numbers[f"{side}_number"].is_valid()).select(["content_id", f"{side}_number"])
        items = pq.read_table(tmp_path / folder / "items.parquet")
        assert there["content_id"].to_pylist() == items["content_id"].to_pylist()
        assert there[f"{side}_number"].to_pylist() == items["number"].to_pylist()
    assert len(numbers) == 69


def test_a_format_with_deltas_of_its_own_has_them_under_one_tokenizer(fitted, cluster, tmp_path):
    before = export_ids(fitted.uri(), tmp_path / "before", format="torcheasyrec")
    fitted.ingest_vectors(cluster(9, seed=5, prefix="u"))
    export_ids(fitted.uri(), tmp_path / "now", format="torcheasyrec", since=before["tag"])
    delta = pq.read_table(tmp_path / "now" / "v1" / "delta_item_to_sid")
    assert sorted(delta["item_id"].to_pylist()) == sorted(f"u{i:03d}" for i in range(9))
    move_on(fitted, cluster)
    manifest = export_ids(fitted.uri(), tmp_path / "other", format="torcheasyrec", since=before["tag"])
    assert "changes.parquet" in manifest["files"]
    assert not [name for name in manifest["files"] if "delta" in name]


def test_without_changes_the_delta_is_empty(fitted, tmp_path):
    tag = export_ids(fitted.uri(), tmp_path / "before")["tag"]
    manifest = export_ids(fitted.uri(), tmp_path / "now", since=tag)
    assert manifest["changes"] == {"added": 0, "removed": 0, "changed": 0}
    assert pq.read_table(tmp_path / "now" / "changes.parquet").num_rows == 0


def test_progress_is_reported_for_every_item(fitted, tmp_path):
    steps: dict[str, list[int]] = {}

    class Told:
        def begin(self, stage: str, total: int | None) -> None:
            steps[stage] = [total or 0, 0]

        def advance(self, stage: str, done: int) -> None:
            steps[stage][1] += done

    export_ids(fitted.uri(), tmp_path / "ids", progress=Told())
    assert steps == {"read": [60, 60], "write parquet": [60, 60]}
