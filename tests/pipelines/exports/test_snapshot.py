"""A snapshot: every item with its ID, sorted, of fixed versions and a fixed tokenizer."""

from __future__ import annotations

import shutil
import tempfile
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.exports import snapshot
from fuseid.pipelines.exports.columns import IDS
from fuseid.pipelines.exports.ranges import Ranges
from fuseid.pipelines.exports.snapshot import ITEMS, Snapshot
from fuseid.pipelines.exports.tags import remove_tag, tags
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.promote import promote
from fuseid.pipelines.store.store import Store

# In the order of their UTF-8 bytes, which is not that of any locale.
NAMES = ["!", "0", "Z", "a", "a\n", "a b", "aa", "a" * 40, "b", "ä", "\u4e00", "\U0001f600"]


@pytest.fixture(scope="module")
def named_once(make_workspace: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    bare = make_workspace(tmp_path_factory.mktemp("named"))
    generator = np.random.default_rng(3)
    names = [*NAMES, *(f"v{i:03d}" for i in range(36))]
    generator.shuffle(names)
    bare.ingest_vectors({name: generator.normal(size=8) for name in names if "\n" not in name})
    bare.fit()
    store = bare.store()
    contents = store.dataset("contents")
    row = contents.to_table(limit=1).drop_columns(["content_id", "sid", "codes", "tokenizer_id"])
    for name in ("a\n", "v"):
        store.upsert("contents", row.append_column("content_id", pa.array([name])))
    return bare


@pytest.fixture
def named(named_once: Any, bare: Any) -> Any:
    """Some fifty items, some of difficult names, two without an ID; made once and copied."""
    shutil.copytree(named_once.uri(), bare.uri())
    return bare


def table_of(taken: Snapshot, *extra: str, **options: Any) -> pa.Table:
    columns = [*ITEMS.names, *extra]
    with taken.items(columns, **options) as (count, batches):
        table = pa.Table.from_batches(batches)
    assert len(table) == count
    return table.select(columns)


def candidate_of(workspace: Any) -> str:
    """A second tokenizer, whose IDs are kept beside the champion's."""
    workspace.fit(tokenizer={"codebook_sizes": [2, 2]})
    return workspace.candidate()


@pytest.mark.parametrize(("range_bytes", "batch_rows"), [(1 << 28, 1 << 16), (700, 10), (1, 1), (4000, 50)])
def test_items_are_those_of_the_ledger_sorted_however_they_are_cut(named, range_bytes, batch_rows):
    taken = Snapshot.open(named.uri())
    columns = ["kind", "caption", "sid", "attributes"]
    with taken.items(columns, batch_rows=batch_rows, range_bytes=range_bytes) as (_, made):
        batches = list(made)
    assert [batch.num_rows for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    rows = pa.Table.from_batches(batches).select(ITEMS.names).to_pylist()
    ids = [row["content_id"] for row in rows]
    assert ids == sorted(named.ledger(), key=str.encode)
    ledger, contents = named.rows("assignments"), named.rows()
    assert rows == [
        {"content_id": name, "kind": contents[name]["kind"]}
        | {column: ledger[name][column] for column in ("sid", "codes", "suffix")}
        for name in ids
    ]
    assert batches[0].schema.names == [*IDS.names, "kind", "caption", "sid", "attributes"]


@pytest.mark.parametrize("copies", ["all", "some"])
def test_unsorted_reading_gives_the_same_items_with_the_requested_columns(named, copies):
    if copies == "some":
        rows = named.store().dataset("contents").to_table(filter="content_id < 'v010'")
        nothing = pa.nulls(len(rows), pa.string())
        named.store().upsert("contents", rows.drop_columns(["sid"]).append_column("sid", nothing))
        place = rows.schema.names.index("tokenizer_id")
        named.store().upsert("contents", rows.set_column(place, rows.schema.field("tokenizer_id"), nothing))
    taken = Snapshot.open(named.uri())
    with taken.items(["caption"], ordered=False, range_bytes=700) as (count, batches):
        found = pa.Table.from_batches(batches)
    columns = [*IDS.names, "caption"]
    assert (len(found), found.schema.names) == (count, columns)
    assert found.sort_by("content_id").equals(table_of(taken, "caption").select(columns).sort_by("content_id"))


def test_the_order_is_that_of_bytes():
    assert sorted(NAMES, key=str.encode) == NAMES


@pytest.mark.parametrize("range_bytes", [1 << 28, 500])
def test_a_condition_selects_items_by_their_columns(named, range_bytes):
    taken = Snapshot.open(named.uri())
    where = "content_id >= 'v030' AND content_id < 'w'"
    found = table_of(taken, where=where, range_bytes=range_bytes)["content_id"].to_pylist()
    assert found == [f"v{i:03d}" for i in range(30, 36)]
    with taken.items(where="kind = 'nothing'", range_bytes=range_bytes) as (count, batches):
        assert (count, list(batches)) == (0, [])


@pytest.mark.parametrize("asked", [{"where": "nope = 1"}, {"where": "kind ="}, {"extra": ["nope"]}])
def test_an_invalid_condition_or_column_is_refused_in_one_line(fitted, asked):
    with pytest.raises(BadInput) as caught, Snapshot.open(fitted.uri()).items(**asked):
        pass
    assert "\n" not in str(caught.value)
    assert "/" not in str(caught.value).replace(fitted.uri(), "")


@pytest.mark.parametrize("range_bytes", [1 << 28, 500])
def test_items_whose_copy_in_contents_is_missing_or_of_another_tokenizer_have_their_id_too(fitted, range_bytes):
    before = table_of(Snapshot.open(fitted.uri()))
    store = fitted.store()
    rows = store.dataset("contents").to_table(filter="content_id >= 'v020' AND content_id < 'v040'")
    for copy in (
        {"sid": None, "codes": None, "tokenizer_id": None},
        {"sid": "9-9-9", "codes": [9, 9, 9], "tokenizer_id": "rq-kmeans-00"},
    ):
        for name, value in copy.items():
            field = rows.schema.field(name)
            rows = rows.set_column(rows.schema.names.index(name), field, pa.array([value] * len(rows), field.type))
        store.upsert("contents", rows)
        assert fitted.ids()["v020"] == copy["sid"]
        assert table_of(Snapshot.open(fitted.uri()), range_bytes=range_bytes).equals(before)


@pytest.mark.parametrize(("range_bytes", "held"), [(1 << 28, [10, 10]), (400, [10, 60])])
def test_memory_holds_no_ledger_rows_of_deleted_items(fitted, monkeypatch, range_bytes, held):
    """All items are in files where there is more than one range."""
    taken = []

    class Watched(Ranges):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            taken.append(sum(len(self.read(part)) for part in range(self.count)))

    candidate = candidate_of(fitted)
    fitted.store().delete("contents", [f"v{i:03d}" for i in range(50)])
    monkeypatch.setattr(snapshot, "Ranges", Watched)
    found = table_of(Snapshot.open(fitted.uri(), candidate), range_bytes=range_bytes)
    assert taken == held
    ledger = fitted.store().dataset("assignments").to_table(filter=f"tokenizer_id = '{candidate}'")
    given = dict(zip(ledger["content_id"].to_pylist(), ledger["sid"].to_pylist(), strict=True))
    left = [f"v{i:03d}" for i in range(50, 60)]
    assert found.select(["content_id", "sid"]).to_pylist() == [{"content_id": n, "sid": given[n]} for n in left]


def test_a_reader_that_fails_leaves_neither_temporary_files_nor_a_thread(named, monkeypatch, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    seen: list[Path] = []

    def read(taken: Snapshot) -> None:
        with taken.items(batch_rows=5, range_bytes=700) as (_, batches):
            next(batches)
            seen.extend(scratch.glob("fuseid-export-*/*"))
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        read(Snapshot.open(named.uri()))
    assert len(seen) > 1
    assert list(scratch.iterdir()) == []
    assert "fuseid-items" not in {thread.name for thread in threading.enumerate()}


# What stays


def move_on(workspace: Any, cluster: Any) -> str:
    """Removes items, adds items, promotes another tokenizer, and maintains the tables. -> that tokenizer."""
    workspace.store().delete("contents", ["v001"])
    workspace.ingest_vectors(cluster(20, seed=4, prefix="w"))
    workspace.fit(tokenizer={"codebook_sizes": [2, 2], "collisions": "none"})
    candidate = workspace.candidate()
    promote(workspace.uri(), candidate, workspace.settings())
    return candidate


def test_a_champion_that_changes_between_opening_and_reading_changes_nothing(fitted, cluster):
    before, ids = table_of(Snapshot.open(fitted.uri())), fitted.ledger()
    taken = Snapshot.open(fitted.uri())
    facts = taken.facts()
    with taken.items(ITEMS.names) as (_, batches):
        candidate = move_on(fitted, cluster)
        assert pa.Table.from_batches(batches).select(ITEMS.names).equals(before)
    assert table_of(taken).equals(before)
    assert taken.facts() == facts
    assert dict(zip(before["content_id"].to_pylist(), before["sid"].to_pylist(), strict=True)) == ids
    now = Snapshot.open(fitted.uri())
    assert (now.tokenizer.id, now.policy.collisions, taken.policy.collisions) == (candidate, "none", "suffix")
    assert len(table_of(now)) == 79


def test_tagged_versions_survive_the_removal_of_old_versions(fitted, cluster):
    taken = Snapshot.open(fitted.uri())
    before = table_of(taken, "caption")
    tag = taken.tag()
    assert taken.tag() == Snapshot.open(fitted.uri()).tag() == tag
    move_on(fitted, cluster)
    maintain(fitted.store(), keep_versions=timedelta(0))
    for name in ("contents", "assignments"):
        dataset = fitted.store().dataset(name)
        assert [version["version"] for version in dataset.versions()] == [
            taken.facts()["versions"][name],
            dataset.version,
        ]
    again = Snapshot.open(fitted.uri(), tag=tag)
    assert again.facts() == taken.facts()
    assert again.tokenizer.id != fitted.store().setting("champion")
    assert table_of(again, "caption").equals(before)
    assert tags(fitted.uri()) == [tag]
    remove_tag(fitted.uri(), tag)
    assert tags(fitted.uri()) == []
    maintain(fitted.store(), keep_versions=timedelta(0))
    with pytest.raises(BadInput, match=r"has no tag .*; there are none"):
        Snapshot.open(fitted.uri(), tag=tag)


def test_at_a_tag_another_tokenizer_may_be_read(fitted):
    champion, candidate = fitted.store().setting("champion"), candidate_of(fitted)
    tag = Snapshot.open(fitted.uri(), candidate).tag()
    fitted.store().delete("contents", ["v001"])
    assert Snapshot.open(fitted.uri(), tag=tag).tokenizer.id == candidate
    there = Snapshot.open(fitted.uri(), champion, tag)
    assert (there.tokenizer.id, len(table_of(there))) == (champion, 60)


def test_tags_come_in_the_order_of_their_versions(fitted, cluster):
    every = [Snapshot.open(fitted.uri()).tag()]
    for number in range(2):
        fitted.store().delete("contents", [f"v00{number}"])
        every.append(Snapshot.open(fitted.uri()).tag())
    assert tags(fitted.uri()) == every
    with pytest.raises(BadInput, match="has no tag 'nope'; there are export-"):
        remove_tag(fitted.uri(), "nope")


def test_the_largest_suffix_counts_those_of_deleted_items(fitted):
    suffixes = {name: row["suffix"] or 0 for name, row in fitted.rows("assignments").items()}
    largest = max(suffixes.values())
    assert Snapshot.open(fitted.uri()).largest_suffix() == largest > 0
    fitted.store().delete("contents", [name for name, suffix in suffixes.items() if suffix == largest])
    assert Snapshot.open(fitted.uri()).largest_suffix() == largest


def test_without_suffixes_the_largest_is_0(bare, cluster):
    bare.ingest_vectors(cluster(30))
    bare.fit(tokenizer={"collisions": "none"})
    taken = Snapshot.open(bare.uri())
    assert taken.largest_suffix() == 0
    assert taken.policy.collisions == "none"


def test_without_ids_or_items_there_is_no_snapshot(bare, cluster):
    Store.create(bare.uri("empty"))
    with pytest.raises(StoreError, match="is empty"):
        Snapshot.open(bare.uri("empty"))
    assert tags(bare.uri("empty")) == []
    bare.ingest_vectors(cluster(5))
    with pytest.raises(StoreError, match="no semantic IDs yet"):
        Snapshot.open(bare.uri())
