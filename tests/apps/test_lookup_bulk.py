"""The command lookup with the queries of a file."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def asked(folder):
    queries = [{"like": f"v{number:02d}"} for number in range(40)]
    text = "".join(json.dumps(query) + "\n" for query in [*queries, {"like": "nobody"}])
    (folder / "queries.jsonl").write_text(text)
    return folder


def test_the_results_of_all_queries_are_written_and_counted(asked, as_text, as_json):
    said = as_text("lookup", "--db", "db", "--from", "queries.jsonl", "--out", "found.parquet", "-k", "3")
    assert [line.split()[-1] for line in said.splitlines()[-3:]] == ["41", "120", "1"]
    rows = pq.read_table(asked / "found.parquet").to_pylist()
    for number in (0, 39):
        alone = as_json("lookup", "--db", "db", "--like", f"v{number:02d}", "-k", "3")
        assert [row["content_id"] for row in rows if row["query"] == number + 1] == [row["content_id"] for row in alone]
    assert rows[-1]["error"].startswith("no item 'nobody'")
    summary = as_json("lookup", "--db", "db", "--from", "queries.jsonl", "--out", "again.parquet", "--where", "true")
    assert {name: summary[name] for name in ("queries", "results", "errors")} == {
        "queries": 41, "results": 400, "errors": 1
    }  # fmt: skip


def test_queries_none_of_which_finds_anything_are_a_failure_whose_file_says_why(asked, fuseid):
    (asked / "queries.jsonl").write_text('{"like": "nobody"}\n{"like": 5}\n')
    status, out, err = fuseid("lookup", "--db", "db", "--from", "queries.jsonl", "--out", "found.parquet", "--json")
    assert (status, json.loads(out)["errors"]) == (1, 2)
    assert err == "error: not one of 2 queries found an item; the column error of found.parquet says why\n"
    assert len(pq.read_table(asked / "found.parquet")) == 2
