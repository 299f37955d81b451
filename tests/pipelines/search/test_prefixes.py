"""Pages below a prefix and children, with and without the stored order, against a plain sort of all IDs."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, StoreError
from fuseid.core.records import SemanticId
from fuseid.core.schemas import contents_schema
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.search import id_order, prefixes
from fuseid.pipelines.store import id_order_making
from fuseid.pipelines.store.id_order import FOLDER, coverage
from fuseid.pipelines.store.id_order_making import make_id_order
from fuseid.pipelines.store.indexes import compact
from fuseid.pipelines.store.store import Store

WEEK = timedelta(days=7)
Ids = dict[str, str | None]


def rows_of(ids: Ids) -> pa.Table:
    schema = contents_schema({"fused": 2})
    columns: dict[str, Any] = {name: pa.nulls(len(ids), schema.field(name).type) for name in schema.names}
    columns |= {"content_id": [*ids], "sid": pa.array([*ids.values()], pa.string())}
    columns["kind"] = ["text" if sum(map(ord, name)) % 3 else "image" for name in ids]
    return pa.table(columns, schema=schema)


class Database:
    """`ids` are those that the table has."""

    def __init__(self, folder: Path, ids: Ids) -> None:
        self.uri = str(folder / "db")
        self.store = Store.create(self.uri)
        self.ids = dict(ids)
        lance.write_dataset(rows_of(ids), self.store.path("contents"))
        self.store.put_settings({"champion": "rq_kmeans-0"}, self.store.settings())

    def catalog(self) -> Catalog:
        return Catalog.open(self.uri)

    def add(self, ids: Ids) -> None:
        lance.write_dataset(rows_of(ids), self.store.path("contents"), mode="append")
        self.ids |= ids

    def delete(self, names: list[str]) -> None:
        self.store.delete("contents", names)
        for name in names:
            del self.ids[name]

    def reassign(self, ids: Ids) -> None:
        """As a promotion does: the column is written again, the rows stay where they are."""

        def update(fragment: lance.LanceFragment) -> list[pa.RecordBatch]:
            here = [name for name in fragment.to_table(["content_id"])["content_id"].to_pylist() if name in ids]
            sids = pa.array([ids[name] for name in here], pa.string())
            return [pa.record_batch([pa.array(here, pa.string()), sids], names=["content_id", "sid"])]

        self.store.rewrite_columns(update)
        self.ids |= ids

    def replace(self, ids: Ids) -> None:
        """As an ingest does: whole rows are written again, elsewhere."""
        self.store.dataset("contents").merge_insert("content_id").when_matched_update_all().execute(rows_of(ids))
        self.ids |= ids

    def expected(self, prefix: str, where: str | None = None) -> list[tuple[str, str]]:
        rows = [(sid, name) for name, sid in self.ids.items() if sid is not None and below(sid, prefix)]
        if where is not None:
            rows = [(sid, name) for sid, name in rows if sum(map(ord, name)) % 3]
        return sorted(rows, key=order)

    def make_order(self, part_rows: int = 1 << 18) -> None:
        make_id_order(self.store, WEEK, part_rows)


def below(sid: str, prefix: str) -> bool:
    return prefix in ("", sid) or sid.startswith((f"{prefix}-", f"{prefix}."))


def order(row: tuple[str, str]) -> tuple[tuple[int, ...], int, str]:
    sid = SemanticId.parse(row[0])
    return sid.codes, sid.suffix or 0, row[1]


def pages(catalog: Catalog, prefix: str, k: int, where: str | None = None) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    after = None
    while True:
        page = catalog.search(sid=prefix, k=k, where=where, after=after)
        found += zip(page["sid"].to_pylist(), page["content_id"].to_pylist(), strict=True)
        following = page.schema.metadata.get(b"fuseid.next")
        if following is None:
            return found
        assert page.num_rows == k
        after = following.decode()


def children_of(catalog: Catalog, prefix: str | None, k: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = catalog.children(prefix, k=k, after=after)
        found += page.to_pylist()
        following = page.schema.metadata.get(b"fuseid.next")
        if following is None:
            return found
        assert page.num_rows == k
        after = following.decode()


def check_children(database: Database, catalog: Catalog, prefix: str | None, k: int) -> None:
    depth = len(prefix.split("-")) if prefix else 0
    ids = [SemanticId.parse(sid) for sid, _ in database.expected(prefix or "")]
    counts = Counter(sid.codes[depth] for sid in ids if len(sid.codes) > depth)
    found = children_of(catalog, prefix, k)
    assert [(row["code"], row["items"]) for row in found] == sorted(counts.items())
    for row in found:
        assert row["prefix"] == f"{prefix}-{row['code']}" if prefix else str(row["code"])
        assert len(set(row["examples"])) == len(row["examples"]) == min(3, row["items"])
        assert all(below(database.ids[name] or "", row["prefix"]) for name in row["examples"])


def random_ids(generator: random.Random, start: int, count: int) -> Ids:
    """IDs of one to three codes, some with a suffix, some shared, some missing; the names are in no order."""
    ids: Ids = {}
    for number in range(start, start + count):
        codes = [generator.choice((0, 1, 2, 9, 10, 11, 240)) for _ in range(generator.choice((1, 2, 3, 3, 3)))]
        suffix = generator.choice((None, None, 1, 2, 10))
        name = f"{generator.randrange(1000):03d}-{number}"
        ids[name] = None if generator.random() < 0.1 else str(SemanticId(tuple(codes), suffix))
    return ids


def change(database: Database, generator: random.Random, start: int) -> None:
    names = sorted(database.ids)
    some = generator.sample(names, min(len(names), generator.randrange(1, 8)))
    match generator.randrange(6):
        case 0:
            database.add(random_ids(generator, start, generator.randrange(1, 20)))
        case 1 if len(some) < len(names):
            database.delete(some)
        case 2:
            database.reassign(dict(zip(some, random_ids(generator, 0, len(some)).values(), strict=True)))
        case 3:
            database.replace(dict(zip(some, random_ids(generator, 0, len(some)).values(), strict=True)))
        case 4:
            compact(database.store)
        case 5:
            database.make_order(generator.choice((3, 7, 1000)))


@given(seed=st.integers(0, 2**32), k=st.sampled_from((1, 2, 3, 7, 50)))
@settings(max_examples=15, deadline=None)
def test_all_pages_together_are_the_items_in_the_order_of_numbers(tmp_path_factory, seed, k):
    generator = random.Random(seed)
    database = Database(tmp_path_factory.mktemp("pages"), random_ids(generator, 0, generator.randrange(1, 60)))
    if generator.random() < 0.8:
        database.make_order(generator.choice((3, 7, 1000)))
    catalog = database.catalog()
    for step in range(4):
        prefix = generator.choice(("1", "10", "1-2", "240", "9-10", "2-9-11", "0-1-2.10", "12"))
        assert pages(catalog, prefix, k) == database.expected(prefix)
        assert pages(catalog, prefix, k, "kind = 'text'") == database.expected(prefix, "kind = 'text'")
        check_children(database, catalog, generator.choice((None, "1", "10", "1-2", "2-9-11", "12")), k)
        change(database, generator, 1000 * (step + 1))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
def test_without_the_order_and_with_too_much_outside_it_the_pages_are_the_same(tmp_path_factory, seed):
    generator = random.Random(seed)
    database = Database(tmp_path_factory.mktemp("scans"), random_ids(generator, 0, 80))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_order.IdOrder.open.__func__, "__defaults__", (0,))
        catalog = database.catalog()
        for step in range(3):
            for prefix in ("1", "1-2", "10-9"):
                assert pages(catalog, prefix, 3) == database.expected(prefix)
                assert pages(catalog, prefix, 3, "kind = 'text'") == database.expected(prefix, "kind = 'text'")
                check_children(database, catalog, prefix, 2)
            check_children(database, catalog, None, 2)
            change(database, generator, 1000 * (step + 1))


def test_a_page_goes_on_at_its_version_while_rows_arrive_move_and_go(tmp_path):
    generator = random.Random(5)
    database = Database(tmp_path, random_ids(generator, 0, 200))
    database.make_order()
    catalog = database.catalog()
    before = database.expected("1")
    found, after, versions = [], None, set()
    for step in range(100):
        page = catalog.search(sid="1", k=5, after=after)
        found += zip(page["sid"].to_pylist(), page["content_id"].to_pylist(), strict=True)
        versions.add(page.schema.metadata[b"fuseid.version"])
        if (following := page.schema.metadata.get(b"fuseid.next")) is None:
            break
        after = following.decode()
        change(database, generator, 1000 * (step + 1))
    database.delete([before[0][1]])
    assert found == before
    assert len(versions) == 1
    assert pages(catalog, "1", 5) == database.expected("1") != before


def test_a_rare_condition_is_finished_by_a_scan(tmp_path, monkeypatch):
    database = Database(tmp_path, {f"i{n:04d}": f"1-{n % 7}-{n % 5}.{n + 1}" for n in range(600)})
    database.make_order()
    monkeypatch.setattr(prefixes, "_READ_ON", 100)
    monkeypatch.setattr(prefixes, "_FIRST_READ", 64)
    scans = []
    plain = prefixes.scanned_page
    monkeypatch.setattr(prefixes, "scanned_page", lambda *given: scans.append(given) or plain(*given))
    wanted = ["i0003", "i0350", "i0351", "i0599"]
    where = f"content_id IN ({', '.join(map(repr, wanted))})"
    found = pages(database.catalog(), "1", 2, where)
    assert [name for _, name in found] == [name for _, name in database.expected("1") if name in wanted]
    assert scans


def test_a_page_of_an_order_reads_no_more_rows_than_it_shows(tmp_path, monkeypatch):
    database = Database(tmp_path, {f"i{n:05d}": f"{n % 3}-{n % 11}.{n + 1}" for n in range(3000)})
    database.make_order()
    catalog = database.catalog()
    read = []
    plain = prefixes.rows_at
    monkeypatch.setattr(prefixes, "rows_at", lambda *given: read.append(len(given[1])) or plain(*given))
    cursor = catalog.search(sid="2", k=500).schema.metadata[b"fuseid.next"].decode()
    catalog.search(sid="2", k=20, after=cursor)
    assert read == [500, 20]


@pytest.mark.parametrize("harm", ["gone", "empty"])
def test_a_damaged_order_is_noticed_and_the_table_is_scanned(tmp_path, harm):
    database = Database(tmp_path, {f"i{n:03d}": f"{n % 3}-{n % 11}.{n + 1}" for n in range(300)})
    database.make_order()
    catalog = database.catalog()
    assert pages(catalog, "2", 50) == database.expected("2")
    folder = next((tmp_path / "db" / FOLDER).iterdir())
    for file in folder.iterdir():
        if harm == "gone":
            file.unlink()
        else:
            file.write_bytes(b"")
    for each in (catalog, database.catalog()):
        assert pages(each, "2", 50) == database.expected("2")
        check_children(database, each, "2", 5)


def test_an_order_of_other_rows_is_noticed(tmp_path, monkeypatch):
    ids = {f"i{n:03d}": f"{n % 3}-{n % 11}.{n + 1}" for n in range(300)}
    database = Database(tmp_path / "one", ids)
    database.make_order()
    other = Database(tmp_path / "two", dict(zip(ids, reversed(ids.values()), strict=True)))
    covered = coverage(database.store.dataset("contents"))
    monkeypatch.setattr(id_order_making, "coverage", lambda _: covered)
    (folder,) = (tmp_path / "one" / "db" / FOLDER).iterdir()
    id_order_making.write_order(other.store.dataset("contents"), str(folder))
    assert pages(database.catalog(), "2", 50) == database.expected("2")


@pytest.mark.parametrize(
    "sid", [f"1-{'9' * 5000}", "99999999999-1", "4294967295", "4294967294", "2147483647.99999999999", "0-0-0-0-0-0-0"]
)
def test_a_number_that_no_code_has_finds_nothing(tmp_path, sid):
    database = Database(tmp_path, {"a": "1-2", "b": "0-0-0"})
    database.make_order()
    catalog = database.catalog()
    assert catalog.search(sid=sid).num_rows == 0
    if "." not in sid:
        assert catalog.children(sid).num_rows == 0


def test_zeros_before_a_number_do_not_matter(tmp_path):
    database = Database(tmp_path, {"a": "1-2", "b": "1-20"})
    catalog = database.catalog()
    assert catalog.search(sid="01-002-")["content_id"].to_pylist() == ["a"]
    assert catalog.facets(["sid"], sid="01-")["sid"] == catalog.facets(["sid"], sid="1")["sid"]


def test_a_database_in_the_place_of_another_has_its_own_order(tmp_path):
    ids = random_ids(random.Random(3), 0, 40)
    first = Database(tmp_path, ids)
    catalog = first.catalog()
    before = catalog.children()
    shutil.rmtree(first.uri)
    database = Database(tmp_path, dict.fromkeys(ids, "7-7"))
    assert database.store.dataset("contents").version == int(before.schema.metadata[b"fuseid.version"])
    check_children(database, catalog, None, 50)
    assert pages(catalog, "7", 3) == database.expected("7")


def test_children_are_of_prefixes_only(tmp_path):
    catalog = Database(tmp_path, {"a": "1-2"}).catalog()
    with pytest.raises(BadInput, match="whole ID"):
        catalog.children("1-2.1")
    with pytest.raises(BadInput, match="the form is"):
        catalog.children("one")
    with pytest.raises(BadInput, match="at least 1"):
        catalog.children("1", k=0)


def test_children_of_a_database_without_ids_name_the_fit(bare, cluster):
    bare.ingest_vectors(cluster(8))
    with pytest.raises(StoreError, match="fuseid fit"):
        bare.catalog().children()
