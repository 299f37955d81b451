"""The order of items by hash, and samples of them."""

from __future__ import annotations

from hashlib import blake2b

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.store.hash_order import content_hashes, lowest

IDS = [f"item-{number}" for number in range(1000)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """In several fragments, with two columns of numbers."""
    path = tmp_path_factory.mktemp("order") / "table.lance"
    rows = pa.table({"content_id": IDS, "even": [None if number % 2 else number for number in range(1000)]})
    return lance.write_dataset(rows, path, max_rows_per_file=300)


def hash_of(content_id, salt=b""):
    return int.from_bytes(blake2b(content_id.encode(), digest_size=8, salt=salt).digest(), "big")


def test_hashes_are_those_of_blake2b_and_a_salt_gives_others():
    assert content_hashes(pa.array(IDS)).tolist() == [hash_of(each) for each in IDS]
    assert content_hashes(pa.chunked_array([IDS]), b"x").tolist() == [hash_of(each, b"x") for each in IDS]


@pytest.mark.parametrize("limit", [1, 10, 999, 1000, 5000])
def test_the_lowest_are_the_first_in_the_order_of_hashes(table, limit):
    found = lowest(table, limit, "content_id IS NOT NULL")
    assert found["content_id"].to_pylist() == sorted(IDS, key=hash_of)[:limit]
    assert found["hash"].to_pylist() == sorted(map(hash_of, IDS))[:limit]


def test_only_rows_that_fulfil_the_condition_and_are_accepted_are_among_them(table):
    def ends_in_zero(ids):
        return np.array([each.endswith("0") for each in ids.to_pylist()], bool)

    found = lowest(table, 20, "even IS NOT NULL", ends_in_zero)
    assert found["content_id"].to_pylist() == sorted(IDS[::10], key=hash_of)[:20]
