"""Every command works after every kind of newest commit in the tables that it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.store.store import Store


def _appended(dataset: lance.LanceDataset) -> None:
    lance.write_dataset(dataset.schema.empty_table(), dataset.uri, mode="append")


def _upserted(dataset: lance.LanceDataset) -> None:
    row = dataset.to_table(limit=1)
    dataset.merge_insert(["content_id", "tokenizer_id"]).when_matched_update_all().execute(row)


def _deleted(dataset: lance.LanceDataset) -> None:
    dataset.delete("content_id = 'nobody'")


def _columns_updated(dataset: lance.LanceDataset) -> None:
    (fragment, *_) = dataset.get_fragments()
    values = fragment.to_table(columns=["content_id", "run_id"])
    metadata, fields = fragment.update_columns(values, left_on="content_id", right_on="content_id")
    operation = lance.LanceOperation.Update(updated_fragments=[metadata], fields_modified=fields)
    lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.version)


def _compacted(dataset: lance.LanceDataset) -> None:
    _upserted(dataset)
    lance.dataset(dataset.uri).optimize.compact_files(target_rows_per_fragment=1 << 20)


def _column_added(dataset: lance.LanceDataset) -> None:
    dataset.add_columns(pa.schema([pa.field("note", pa.string())]))
    lance.dataset(dataset.uri).drop_columns(["note"])


def _index_made(dataset: lance.LanceDataset) -> None:
    dataset.create_scalar_index("run_id", "BTREE")


def _index_extended(dataset: lance.LanceDataset) -> None:
    _upserted(dataset)
    lance.dataset(dataset.uri).optimize.optimize_indices()


def _index_dropped(dataset: lance.LanceDataset) -> None:
    names = [index.name for index in dataset.describe_indices()]
    dataset.drop_index(names[0] if names else dataset.create_scalar_index("run_id", "BTREE") or "run_id_idx")


def _configured(dataset: lance.LanceDataset) -> None:
    dataset.update_config({"note": "nothing"})


def _restored(dataset: lance.LanceDataset) -> None:
    dataset.restore()


def _cleaned(dataset: lance.LanceDataset) -> None:
    from datetime import timedelta

    dataset.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False, delete_unverified=True)


COMMITS = (
    _appended, _upserted, _deleted, _columns_updated, _compacted, _column_added, _index_made, _index_extended,
    _index_dropped, _configured, _restored, _cleaned,
)  # fmt: skip


@pytest.mark.parametrize(
    "commit",
    [pytest.param(kind, marks=() if kind is _compacted else pytest.mark.slow) for kind in COMMITS],
    ids=lambda kind: kind.__name__.strip("_"),
)
def test_every_command_works_after_a_commit_that(
    commit: Callable[[lance.LanceDataset], None], as_json: Callable[..., object], folder: Path, events: Path
) -> None:
    def newest() -> None:
        for table in ("contents", "assignments"):
            commit(Store.open(folder / "db").dataset(table))

    ids = folder / "db"
    first = as_json("export", "ids", "--db", "db", "--out", "first")
    newest()
    second = as_json("export", "ids", "--db", "db", "--out", "second", "--since", first["tag"])
    assert second["changes"] == {"added": 0, "removed": 0, "changed": 0}
    again = as_json("export", "ids", "--db", "db", "--out", "again", "--manifest", "second/manifest.json")
    assert again == second
    assert as_json("export", "ids", "--db", "db", "--out", "old", "--manifest", "first/manifest.json") == first
    as_json("export", "trie", "--db", "db", "--out", "trie")
    as_json("export", "vocabulary", "--db", "db", "--out", "v.json")
    as_json("export", "sequences", "--db", "db", "--interactions", events, "--out", "histories", "--runner", "local")
    assert second["tag"] in as_json("export", "tags", "--db", "db")["tags"]
    (found,) = as_json("lookup", "--db", "db", "--sid", "0", "-k", "1")
    assert as_json("lookup", "--db", "db", "--like", found["content_id"])
    assert as_json("neighbours", "--db", "db", "--out", "neighbours")["items"] == 40
    as_json("explain", "--db", "db", found["content_id"])
    as_json("report", "--db", "db")
    as_json("rejected", "--db", "db")
    as_json("retry", "--db", "db")
    newest()
    for command in (("ingest", "--vectors", "vectors.npy"), ("assign",), ("fit", "--seed", "1")):
        as_json(*command, "--db", "db")
    newest()
    champion = Store.open(ids).setting("champion")
    as_json("promote", "--db", "db", champion)
    newest()
    assert as_json("check", "--db", "db")["damages"] == []


def test_an_export_works_after_a_run_in_which_nothing_changed(as_json, folder):
    """Its newest commit is a compaction, which Lance's Python package cannot read back."""
    generator = np.random.default_rng(1)
    np.save(folder / "more.npy", generator.normal(size=(20, 8)).astype(np.float32))
    (folder / "more.ids.txt").write_text("".join(f"w{i:02d}\n" for i in range(20)))
    before = as_json("export", "ids", "--db", "db", "--out", "before")
    for _ in range(2):
        as_json("ingest", "--db", "db", "--vectors", "more.npy")
    manifest = as_json("export", "ids", "--db", "db", "--out", "ids", "--since", before["tag"])
    assert manifest["changes"] == {"added": 20, "removed": 0, "changed": 0}
    assert all(manifest["commits"].values())
    assert json.loads((folder / "ids" / "manifest.json").read_text()) == manifest
    as_json("export", "trie", "--db", "db", "--out", "trie")
