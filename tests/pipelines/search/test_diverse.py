"""At most a few results of one prefix, in the order of the query without that limit."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.search.diverse import diversified
from fuseid.pipelines.search.query import Diverse

SIDS = st.lists(st.none() | st.from_regex(r"[0-2]-[0-1]-[0-9](\.[1-9])?", fullmatch=True), max_size=60)


@given(sids=SIDS, k=st.integers(1, 20), most=st.integers(1, 4), depth=st.integers(1, 4))
def test_no_prefix_has_more_and_the_order_stays(sids, k, most, depth):
    ranked = pa.table({"place": pa.array(range(len(sids)), pa.int64()), "sid": pa.array(sids, pa.string())})
    found = diversified(lambda count: ranked[:count], k, Diverse(most, depth), len(sids))
    places = found["place"].to_pylist()
    assert places == sorted(places)
    assert len(places) <= k

    def prefix(place: int) -> str:
        sid = sids[place]
        return f"none {place}" if sid is None else "-".join(sid.partition(".")[0].split("-")[:depth])

    taken = Counter(map(prefix, places))
    assert max(taken.values(), default=0) <= most
    # Every better result that is left out has a full prefix before it.
    for place in range(len(sids)):
        if place not in places and (len(places) < k or place < places[-1]):
            assert sum(prefix(other) == prefix(place) for other in places if other < place) == most


@pytest.mark.parametrize("query", [{"text": "a dog"}, {"like": "i005"}], ids=lambda query: next(iter(query)))
def test_a_catalogue_shows_few_of_each_prefix(small, query):
    found = small.catalog.search(**query, diverse="2:2", k=9)
    everything = small.catalog.search(**query, k=80)["content_id"].to_pylist()
    prefixes = Counter(sid.rpartition("-")[0] for sid in found["sid"].to_pylist() if sid)
    assert max(prefixes.values()) == 2
    assert len(found) == 9
    places = [everything.index(name) for name in found["content_id"].to_pylist()]
    assert places == sorted(places)
    shown = small.catalog.search(**query, diverse="2:2", k=9, columns=["content_id"])
    assert shown.column_names == ["content_id", "score", "score_text", "score_image", "space"]
    assert shown["content_id"].to_pylist() == found["content_id"].to_pylist()


@pytest.mark.parametrize("value", [0, -1, "", "two", "2:", "2:0", ":2", "1:2:3"])
def test_other_values_are_refused_in_one_line(small, value):
    with pytest.raises(BadInput, match=r"diverse= takes the most results of one prefix, .* got"):
        small.catalog.search(like="i005", diverse=value)


@pytest.mark.parametrize("value", [True, 1.5])
def test_values_of_other_types_are_refused(small, value):
    with pytest.raises(BadInput, match=r"^diverse: .* got"):
        small.catalog.search(like="i005", diverse=value)


def test_without_ids_there_are_no_prefixes(bare, cluster):
    bare.ingest_vectors(cluster(10))
    with pytest.raises(StoreError, match="fuseid fit"):
        Catalog.open(bare.uri()).search(like="v001", diverse=1)
