"""A facet counts what a filter on each of its values finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, NotReady, StoreError
from fuseid.pipelines.search import facets as module
from fuseid.pipelines.search.counting import Counts
from fuseid.pipelines.search.facets import Facet
from fuseid.pipelines.search.filters import Filter

scalars = st.one_of(
    st.sampled_from(["a", "b", "é\"'\n", ""]), st.integers(-1, 2), st.booleans(), st.just(0.5), st.none()
)
values = st.one_of(scalars, st.lists(scalars | st.lists(scalars, max_size=2), max_size=3))
attributes = st.dictionaries(st.sampled_from(["style", "tags", "tag", "m.c"]), values, max_size=3)
paths = st.dictionaries(st.just("m"), st.one_of(scalars, st.dictionaries(st.just("c"), values)), max_size=1)
rows = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["image", "video", "text"]),
        "vlm_tags": st.none() | st.lists(st.sampled_from(["a", "z"]), max_size=2),
        "attributes": st.builds(lambda one, other: {**one, **other}, attributes, paths),
        "codes": st.lists(st.integers(0, 2), min_size=2, max_size=2),
    }
)


WITH_ALL = {"codes": [0, 0], "attributes": {"style": "a", "m.c": "a"}}


def items_of(facet: Facet) -> dict[str, int]:
    """By value as Python writes it, since True == 1."""
    return {repr(value): items for value, items in facet.values}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=20), st.booleans())
def test_a_facet_counts_what_its_filters_find(tmp_path_factory, catalog_of, catalogue, is_filtered):
    catalogue = [{**row, "content_id": f"i{n}"} for n, row in enumerate([*catalogue, WITH_ALL])]
    catalog = catalog_of(tmp_path_factory.mktemp("facets") / "db", catalogue)
    only = Filter.kind("image", "video") if is_filtered else None

    def count(asked: Filter) -> int:
        asked = asked if only is None else asked & only
        return catalog._view().contents.count_rows(asked.sql())

    found = catalog.facets(["kind", "tag", "attr:style", "attr:m.c", "sid"], filter=only, k=100)
    assert {facet.items for facet in found.values()} == {count(Filter.every([]))}
    wanted: dict[str, Any] = {
        "kind": Filter.kind,
        "attr:style": lambda value: Filter.attr("style", "=", value),
        "attr:m.c": lambda value: Filter.attr("m.c", "=", value),
    }
    for name, make in wanted.items():
        assert items_of(found[name]) == {repr(value): count(make(value)) for value, _ in found[name].values}, name
        assert (found[name].others, found[name].error) == (0, 0)
        with_value = [make(value) for value, _ in found[name].values]
        some = with_value[0] if with_value else ~Filter.every([])
        for each in with_value[1:]:
            some = some | each
        assert found[name].without == count(~some), name
    tagged = {value: items for value, items in found["tag"].values if isinstance(value, str) and value}
    assert tagged == {value: count(Filter.tag(value)) for value in tagged}
    below = {prefix: catalog.search(sid=prefix, k=100, filter=only).num_rows for prefix in ("0", "1", "2")}
    assert dict(found["sid"].values) == {prefix: rows for prefix, rows in below.items() if rows}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, catalog_of):
    """3,000 items; of the attribute `n` each has another value."""
    made = [
        {"content_id": f"i{n:04d}", "codes": [n % 3, n % 7], "attributes": {"n": n, "style": f"s{n % 5}"}}
        for n in range(3000)
    ]
    return catalog_of(tmp_path_factory.mktemp("many") / "db", made)


def test_the_rest_is_counted_together(catalog):
    (facet,) = catalog.facets(["attr:n"], k=2).values()
    assert facet == Facet(values=((0, 1), (1, 1)), items=3000, without=0, others=2998, distinct=3000)


def test_facets_below_a_prefix_are_of_the_next_code(catalog):
    found = catalog.facets(["sid", "attr:style"], sid="1", where="content_id < 'i0100'")
    assert found["sid"].items == found["attr:style"].items == 33
    assert {value for value, _ in found["sid"].values} == {f"1-{code}" for code in range(7)}
    assert catalog.facets(["sid"], sid="1-2")["sid"] == Facet(values=(), items=143, without=143, others=0, distinct=0)


def test_beyond_the_limit_counts_say_how_far_off_they_are(catalog, monkeypatch):
    monkeypatch.setattr(module, "Counts", lambda: Counts(most_values=100))
    found = catalog.facets(["attr:n", "attr:style"])
    assert found["attr:n"].error > 0
    assert found["attr:n"].distinct <= 100
    assert found["attr:style"].values == tuple((f"s{n}", 600) for n in range(5))


def test_what_cannot_be_counted_is_answered_with_what_can(catalog, tmp_path, catalog_of):
    for names, said in [
        (["knd"], "did you mean kind?"),
        (["style"], "did you mean attr:style?"),
        (["attr:stlye"], "has an attribute 'stlye'; did you mean style?"),
        (["attr:"], "no facet 'attr:'"),
        ([], "name what to count"),
    ]:
        with pytest.raises(BadInput, match=said):
            catalog.facets(names)
    with pytest.raises(BadInput, match="k= must be at least 1"):
        catalog.facets(["kind"], k=0)
    with pytest.raises(BadInput, match="not an ID or ID prefix"):
        catalog.facets(["kind"], sid="a")
    with pytest.raises(NotReady, match="timeout="):
        catalog.facets(["attr:n"], timeout=1e-9)
    bare = catalog_of(tmp_path / "bare", [{"content_id": "a"}])
    with pytest.raises(StoreError, match="no semantic IDs"):
        bare.facets(["sid"])
    # No item fulfils the filter: all counts are 0.
    assert bare.facets(["kind"], filter=Filter.kind("image"))["kind"] == Facet((), 0, 0, 0, 0)
