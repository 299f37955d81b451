"""A filter that finds nothing says so where a name or a type is wrong, and keeps quiet where it is only strict."""

from __future__ import annotations

import re

import pytest

from fuseid.core.errors import BadInput
from fuseid.core.surface import shell
from fuseid.pipelines.search.filters import Filter

ROWS = [
    {"content_id": "b", "kind": "image", "attributes": {"views": 3, "sku": "12", "maker": {"country": "IE"}}},
    {"content_id": "a", "kind": "text", "caption": "words", "attributes": {"views": "many", "organic": True, "n": [4]}},
    {"content_id": "c", "kind": "text", "attributes": {"style": "noto", "n": 5}},
]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, catalog_of):
    return catalog_of(tmp_path_factory.mktemp("condition") / "db", ROWS)


def ids(table) -> list[str]:
    return table["content_id"].to_pylist()


def test_a_filter_alone_lists_items_by_content_id(catalog):
    found = catalog.search(filter=Filter.has("kind"))
    assert ids(found) == ["a", "b", "c"]
    assert found["score"].null_count == 3
    assert ids(catalog.search(filter=Filter.kind("text"), k=1)) == ["a"]
    assert ids(catalog.search(where="kind = 'text'")) == ["a", "c"]


def test_filters_and_sql_combine(catalog):
    found = catalog.search(filter=Filter.kind("text") | Filter.attr("views"), where="content_id > 'a' -- not the first")
    assert ids(found) == ["b", "c"]
    with pytest.raises(BadInput, match="at least one of"):
        catalog.search()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Filter.has("captoin"), "have no 'captoin'; did you mean caption"),
        (Filter.has("styel"), "did you mean attr:style?"),
        (Filter.attr("veiws", ">", 1), "has an attribute 'veiws'; did you mean views?"),
        (Filter.attr("maker.contry"), "did you mean maker.country"),
        (
            Filter.attr("sku", "=", 12),
            "attribute 'sku' has text, not numbers; text is in double quotes: --attr 'sku=\"12\"'",
        ),
        (Filter.attr("n", "=", "5"), "attribute 'n' has numbers, not text; numbers are without quotes: --attr n=5"),
        (Filter.attr("views", "=", True), "attribute 'views' has text and numbers, not booleans"),
        (Filter.attr("maker", "=", "IE"), "attribute 'maker' has no values that can be compared"),
        (Filter.kind("text") & Filter.attr("stile", "=", "noto"), "did you mean style?"),
    ],
)
def test_what_no_item_has_is_answered_with_the_nearest(catalog, asked, said):
    with shell(), pytest.raises(BadInput, match=re.escape(said)):
        catalog.search(filter=asked)


def test_the_remedy_is_in_python_where_python_asked(catalog):
    with pytest.raises(BadInput, match=re.escape("""Filter.attr('sku', '=', "12")""")):
        catalog.search(filter=Filter.attr("sku", "=", 12))


def test_a_strict_filter_finds_nothing_quietly(catalog):
    for asked in (Filter.attr("views", ">", 100), Filter.kind("video"), Filter.tag("x"), Filter.attr("n", "=", 6)):
        assert catalog.search(filter=asked).num_rows == 0
    assert catalog.search(filter=Filter.kind("text") & Filter.attr("sku", "=", "12")).num_rows == 0
