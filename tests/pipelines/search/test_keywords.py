"""Arguments of a search: values of numpy and Arrow are values, and one of another type is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.search.keywords import plain


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (np.int64(3), 3), (np.float32(0.5), 0.5), (np.str_("a"), "a"), (np.bool_(True), True), (pa.scalar("a"), "a"),
        (np.array(["a", "b"]), ["a", "b"]), (pa.array(["a", "b"]), ["a", "b"]), (("a", np.str_("b")), ["a", "b"]),
        ({"like": np.float64(2)}, {"like": 2.0}), (iter("ab"), ["a", "b"]), (Path("a"), Path("a")), (None, None),
    ],
)  # fmt: skip
def test_values_of_other_libraries_are_values_of_python(value, same):
    found = plain(value)
    assert found == same
    assert type(found) is type(same)


@pytest.mark.parametrize(
    "query",
    [
        {"text": 5}, {"like": [5]}, {"like": "i001", "k": "5"}, {"like": "i001", "k": 2.5}, {"like": "i001", "k": True},
        {"sid": 1}, {"sid": "1", "after": 5}, {"where": 5}, {"filter": "kind"}, {"like": "i001", "timeout": "5"},
        {"like": "i001", "columns": "sid"}, {"like": "i001", "columns": ["sid", "sid"]},
        {"like": "i001", "weights": ["like"]}, {"like": "i001", "space": 5}, {"like": "i001", "columns": None},
        {"vector": np.ones(16, complex)}, {"like": "i001", "weights": {"like": 1e300}},
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(small, query):
    with pytest.raises(BadInput):
        small.catalog.search(**query)


def test_other_methods_refuse_them_too(small):
    catalog = small.catalog
    for call in (
        lambda: catalog.children(1), lambda: catalog.children("1", k="3"), lambda: catalog.facets("kind"),
        lambda: catalog.facets([5]), lambda: catalog.items("i001"), lambda: catalog.items([5]),
        lambda: catalog.items(["i001"], ["knd"]),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            call()


def test_numbers_and_names_of_numpy_and_arrow_are_as_good(small):
    plainly = small.catalog.search(like=["i001", "i002"], k=3)
    names = np.array(["i001", "i002"])
    assert small.catalog.search(like=names, k=np.int64(3)).equals(plainly)
    assert small.catalog.search(like=pa.array(names), k=np.int32(3)).equals(plainly)
    assert next(small.catalog.search_many([{"like": names, "k": np.int64(3)}])).found.equals(plainly)


def test_items_come_in_the_order_in_which_they_are_named(small):
    names = ["i007", "i001", "nobody", "i007", "i070"]
    found = small.catalog.items(names, ["kind", "content_id"])
    assert [[*row] for row in found] == [["kind", "content_id"]] * 4
    assert [row["content_id"] for row in found] == ["i007", "i001", "i007", "i070"]


@pytest.mark.parametrize("factor", [1e-300, 1e-40, 1, 1e38, 1e300])
def test_the_length_of_a_vector_has_no_influence(small, factor):
    query = np.arange(1.0, 17)
    found, same = (small.catalog.search(vector=numbers, k=20) for numbers in (factor * query, query))
    assert found["content_id"].equals(same["content_id"])
    np.testing.assert_allclose(found["score"], same["score"], atol=1e-6)
