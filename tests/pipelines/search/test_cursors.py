"""A cursor goes on where its page ended, and one that cannot is refused in one line that names the remedy."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.search.cursors import Cursor, query_digest
from fuseid.pipelines.store.indexes import remove_old_versions

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def next_of(page) -> str:
    return page.schema.metadata[b"fuseid.next"].decode()


@given(st.integers(1, 2**40), TEXT, TEXT, st.lists(st.one_of(TEXT, st.none(), st.integers(0, 2**60))))
def test_a_cursor_is_read_back_from_its_text(version, commit, query, last):
    cursor = Cursor(version, commit, query, tuple(last))
    assert str(cursor).replace("-", "").replace("_", "").isalnum()
    assert Cursor.of(str(cursor)) == cursor


@given(st.data())
def test_a_cursor_that_was_cut_or_altered_is_refused(data):
    text = str(Cursor(3, "0a1b2c3d", "q", ("1-2", "apple", 7)))
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("abc-_9"))
    changed = data.draw(st.sampled_from((text[:at], text[:at] + other + text[at + 1 :], text + other)))
    if changed != text:
        with pytest.raises(BadInput, match="is no cursor; copy the whole") as caught:
            Cursor.of(changed)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["", "x", "äö", "\udce9", "null", "W10", "A" * 10_000])
def test_other_texts_are_no_cursors(text):
    with pytest.raises(BadInput, match="is no cursor"):
        Cursor.of(text)


def test_the_parts_of_a_query_do_not_run_into_each_other():
    assert query_digest(sid="1", where="2") != query_digest(sid="12", where="")
    assert query_digest(sid="1", where=None) != query_digest(children="1")


def test_a_cursor_of_another_query_or_database_is_refused(fitted, cluster):
    catalog = fitted.catalog()
    prefix = next(code for code in "0123" if catalog.search(sid=code, k=60).num_rows > 2)
    cursor = next_of(catalog.search(sid=prefix, k=1))
    assert catalog.search(sid=f"{prefix}-", k=2, after=cursor).num_rows == 2
    for query in ({"sid": "3" if prefix != "3" else "2"}, {"sid": prefix, "where": "kind = 'video'"}):
        with pytest.raises(BadInput, match=r"is not of sid=.*repeat the query"):
            catalog.search(**query, after=cursor)
    with pytest.raises(BadInput, match="is not of the children of all IDs"):
        catalog.children(after=cursor)
    with pytest.raises(BadInput, match=r"turns the pages of sid=.*larger k="):
        catalog.search(like="v000", after=cursor)
    fitted.ingest_vectors(cluster(8), db="other")
    fitted.fit("other")
    while fitted.store("other").dataset("contents").version < fitted.store().dataset("contents").version:
        fitted.store("other").configure("contents", {"n": 1})
    with pytest.raises(BadInput, match=r"of another database than .*other; leave it out"):
        fitted.catalog("other").search(sid=prefix, after=cursor)


def test_a_cursor_of_a_version_that_is_gone_names_the_first_page(fitted):
    catalog, store = fitted.catalog(), fitted.store()
    prefix = next(code for code in "0123" if catalog.search(sid=code, k=60).num_rows > 2)
    cursor = next_of(catalog.search(sid=prefix, k=1))
    store.configure("contents", {"n": 1})
    assert catalog.search(sid=prefix, k=1, after=cursor).num_rows == 1
    remove_old_versions(store, "contents", timedelta(0))
    for each in (catalog, fitted.catalog()):
        with pytest.raises(
            BadInput, match=r"which is gone; leave after= out to begin at the first page of version \d+"
        ):
            each.search(sid=prefix, k=1, after=cursor)


def test_a_copy_of_the_database_goes_on_with_its_cursors(fitted):
    catalog = fitted.catalog()
    cursor = next_of(catalog.children(k=1))
    shutil.copytree(fitted.uri(), fitted.uri("copy"))
    assert fitted.catalog("copy").children(after=cursor).equals(catalog.children(after=cursor))
