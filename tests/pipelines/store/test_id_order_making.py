"""The order is made when it is due, from any number of parts the same, and old ones go when nobody reads them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance.file import LanceFileReader

from fuseid.core.schemas import contents_schema
from fuseid.pipelines.store.id_order import FOLDER, OrderFiles, named
from fuseid.pipelines.store.id_order_making import maintain_id_order, make_id_order, outside, write_order
from fuseid.pipelines.store.store import Store

WEEK = timedelta(days=7)


def rows(first: int, count: int) -> pa.Table:
    schema = contents_schema({"fused": 2})
    names = [f"i{number * 7919 % 10_007:05d}" for number in range(first, first + count)]
    sids = [f"{n % 5}-{n % 12}.{n + 1}" if n % 9 else None for n in range(first, first + count)]
    columns = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
    return pa.table(columns | {"content_id": names, "kind": ["text"] * count, "sid": sids}, schema=schema)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "db")
    lance.write_dataset(rows(0, 900), store.path("contents"), max_rows_per_file=200)
    return store


def folders(store: Store) -> set[str]:
    return {path.name for path in (Path(store.uri) / FOLDER).iterdir()}


def made(store: Store) -> str | None:
    facts = named(store.dataset("contents"))
    return None if facts is None else facts["name"]


@pytest.mark.parametrize("part_rows", [1, 2, 7, 100])
def test_any_number_of_parts_makes_the_same_files(store, tmp_path, part_rows):
    contents = store.dataset("contents")
    whole = write_order(contents, str(tmp_path / "whole"))
    parts = write_order(contents, str(tmp_path / "parts"), part_rows)
    assert whole["files"].keys() == parts["files"].keys() == {"items.lance", "level-1.lance", "level-2.lance"}
    assert whole["items"] == parts["items"] == 800
    for file in whole["files"]:
        one, other = (LanceFileReader(str(tmp_path / f / file)).read_all().to_table() for f in ("whole", "parts"))
        assert one.equals(other)


@pytest.mark.parametrize("most", [1, 2, 100])
@pytest.mark.parametrize("depth", [0, 1])
def test_children_are_those_from_a_code_on_also_behind_the_last(store, depth, most):
    make_id_order(store, WEEK)
    files = OrderFiles.of(store, store.dataset("contents"))
    node = files.find([3] * depth)
    everyone = [row["code"] - 1 for row in files.children(node, 0, 100).to_pylist()]
    assert everyone == list(range(5 if depth == 0 else 12))
    for code in range(len(everyone) + 2):
        found = [row["code"] - 1 for row in files.children(node, code, most).to_pylist()]
        assert found == everyone[code : code + most]


def test_an_order_finds_prefixes_that_there_are_and_the_place_of_others(store):
    make_id_order(store, WEEK)
    files = OrderFiles.of(store, store.dataset("contents"))
    assert files is not None
    table = store.dataset("contents").to_table(["sid"])["sid"].drop_null().to_pylist()
    bases = [tuple(map(int, sid.partition(".")[0].split("-"))) for sid in table]
    for codes in [(), (0,), (4,), (5,), (3, 0), (3, 11), (3, 12), (2, 7), (2, 7, 1)]:
        node = files.find(codes)
        count = sum(base[: len(codes)] == codes for base in bases)
        assert (0 if node is None else node.items[1] - node.items[0]) == count
        assert files.position(codes[:2]) == sum(base < codes[:2] for base in bases)


def test_a_long_range_of_codes_is_halved(tmp_path):
    store = Store.create(tmp_path / "db")
    schema = contents_schema({"fused": 2})
    count = 20_000
    columns = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
    columns |= {"content_id": [f"i{n}" for n in range(count)], "kind": ["text"] * count}
    numbers = np.random.default_rng(0).permutation(count)
    lance.write_dataset(
        pa.table(columns | {"sid": [f"{2 * n}" for n in numbers]}, schema=schema), store.path("contents")
    )
    make_id_order(store, WEEK)
    files = OrderFiles.of(store, store.dataset("contents"))
    assert files is not None
    for code in (0, 1, 2, 8191, 8192, 8194, 39_997, 39_998, 39_999, 60_000):
        assert files.position([code]) == min(count, (code + 1) // 2)
        assert (files.find([code]) is not None) == (code % 2 == 0 and code < 2 * count)


def test_it_is_made_from_so_many_ids_on_and_again_when_many_are_outside(store):
    assert not maintain_id_order(store, WEEK, order_rows=801)
    assert made(store) is None
    assert maintain_id_order(store, WEEK, order_rows=800)
    first = made(store)
    assert folders(store) == {first}
    assert outside(store, store.dataset("contents")) == 0
    lance.write_dataset(rows(900, 30), store.path("contents"), mode="append")
    assert outside(store, store.dataset("contents")) == 30
    assert not maintain_id_order(store, WEEK, order_rows=800)
    store.delete("contents", rows(0, 30)["content_id"].to_pylist())
    assert maintain_id_order(store, WEEK, order_rows=800)
    assert folders(store) == {first, made(store)}


def test_an_order_that_was_replaced_is_removed_when_its_readers_have_ended(store):
    for _ in range(3):
        make_id_order(store, WEEK)
    assert len(folders(store)) == 3
    maintain_id_order(store, WEEK, order_rows=1)
    assert len(folders(store)) == 3
    maintain_id_order(store, timedelta(0), order_rows=1)
    assert folders(store) == {made(store)}


def test_what_a_killed_run_left_is_removed(store):
    make_id_order(store, WEEK)
    left = Path(store.uri) / FOLDER / "20200101T000000-0123abcd"
    left.mkdir()
    (left / "items.lance").write_bytes(b"half")
    maintain_id_order(store, WEEK, order_rows=1)
    assert folders(store) == {made(store)}


def test_an_order_whose_files_are_lost_is_made_again(store):
    make_id_order(store, WEEK)
    before = made(store)
    (Path(store.uri) / FOLDER / before / "items.lance").unlink()
    assert maintain_id_order(store, WEEK, order_rows=1)
    assert made(store) != before
    assert outside(store, store.dataset("contents")) == 0
