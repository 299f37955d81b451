"""Many queries at one version: each has its answer, and what is wrong with one is no matter to the others."""

from __future__ import annotations

from itertools import count, islice

import numpy as np
import pytest

from fuseid.core.errors import BadInput, Stopped
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.search.bulk import NOTHING, Answers, check_query


def test_answers_are_those_of_single_searches_at_the_version_of_the_beginning(fitted, cluster):
    catalog = fitted.catalog()
    queries = [{"like": f"v{number:03d}", "k": 1 + number % 3} for number in range(20)]
    answers = catalog.search_many(queries)
    single = [catalog.search(**query) for query in queries]
    first = next(answers)
    fitted.ingest_vectors(cluster(80, seed=7))
    rest = [*answers]
    assert [answer.number for answer in (first, *rest)] == list(range(20))
    assert [answer.found.to_pydict() for answer in (first, *rest)] == [table.to_pydict() for table in single]
    assert fitted.store().dataset("contents").version > answers.version
    assert fitted.catalog().search_many([]).version > answers.version


def test_queries_are_read_as_they_are_needed_and_may_never_end(fitted):
    endless = ({"like": f"v{number % 60:03d}"} for number in count())
    assert [len(answer.found) for answer in islice(fitted.catalog().search_many(endless, k=2), 3)] == [2, 2, 2]


def test_a_bad_query_is_an_answer_with_an_error(fitted):
    queries = [{"like": "v001"}, {"like": "nobody"}, {"lik": "v001"}, {}, {"sid": "0", "where": "kind = 'audio'"}]
    odd = [None, "text", {"\ud800": 1}, {"like": "\ud800"}, {"image": "\ud800.png"}, {"sid": "9" * 5000}]
    assert [answer.error is None for answer in fitted.catalog().search_many([*odd, queries[0]])] == [*[False] * 6, True]
    table = fitted.catalog().search_many([*queries, {"vector": np.ones(3)}, {"like": "v002"}], k=2).table()
    rows = table.to_pylist()
    assert [(row["query"], row["rank"]) for row in rows] == [
        (0, 1), (0, 2), (1, None), (2, None), (3, None), (4, None), (5, None), (6, 1), (6, 2)
    ]  # fmt: skip
    assert [row["error"] is None for row in rows] == [True, True, *[False] * 5, True, True]
    assert "did you mean like" in rows[3]["error"]


def test_the_last_row_of_a_page_has_the_cursor_of_the_next(fitted):
    catalog = fitted.catalog()
    prefix = max(catalog.children().to_pylist(), key=lambda child: child["items"])["prefix"]
    whole = catalog.search(sid=prefix, k=100)["content_id"].to_pylist()
    first, second = catalog.search_many([{"sid": prefix, "k": len(whole) - 1}, {"sid": prefix, "k": 100}])
    following = first.rows()["next"].to_pylist()
    assert following[:-1] == [None] * (len(whole) - 2)
    assert second.rows()["next"].null_count == len(whole)
    (rest,) = catalog.search_many([{"sid": prefix, "after": following[-1]}])
    assert rest.found["content_id"].to_pylist() == whole[-1:]


def test_keywords_of_all_queries_are_checked_before_the_first(fitted):
    for common, said in (({"kk": 3}, "did you mean k"), ({"k": "3"}, "^k: "), ({"columns": "sid"}, "^columns: ")):
        with pytest.raises(BadInput, match=said):
            fitted.catalog().search_many([{"like": "v001"}], **common)


def test_nothing_found_is_an_error_and_a_stop_is_none():
    def search(*, text: str | None = None, k: int = 10):
        if text == "stop":
            raise Stopped("stopped")
        return empty

    import pyarrow as pa

    empty = pa.table({"content_id": pa.array([], pa.string())})
    asked = [(7, {"text": "a"}), (8, {"text": "stop"})]
    prepared = []
    answers = Answers(search, prepared.append, empty, 3, asked, {})
    assert next(answers).error == NOTHING
    assert prepared == [["a", "stop"]]
    with pytest.raises(Stopped):
        next(answers)


@pytest.mark.parametrize(
    "query",
    [
        {"text": "a", "k": 3, "where": None}, {"vector": [1, 2.5]}, {"vector": np.zeros(3, np.float32)},
        {"image": "a.png"}, {"sid": "1-2"},
    ],
)  # fmt: skip
def test_keywords_of_a_search_may_have_values_of_their_types(query):
    check_query(Catalog.search, query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"text": 5}, "text: .*got '5'"), ({"k": 2.5}, "k: "), ({"k": True}, "k: "), ({"k": "3"}, "k: "),
        ({"vector": "1,2"}, "vector: "), ({"vector": ["1"]}, "vector: "), ({"where": ["x"]}, "where: "),
        ({"txt": "a"}, "did you mean text"), ({"columns": ["sid"]}, "unknown key of a query 'columns'"),
    ],
)  # fmt: skip
def test_other_keywords_and_values_are_refused(query, said):
    with pytest.raises(BadInput, match=said):
        check_query(Catalog.search, query)
