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


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ({"like": ["v01", "v02"], "weights": {"like": 0.5}}, ["--like", "v01", "--like", "v02"]),
        ({"like": "v01", "not_like": "v05", "weights": {"not_like": 0.5}}, ["--like", "v01", "--not-like", "v05"]),
        ({"like": "v01", "space": "external"}, ["--like", "v01", "--space", "external"]),
        ({"like": "v01", "diverse": "1:1"}, ["--like", "v01", "--diverse", "1:1"]),
        ({"like": "v01", "has": "external"}, ["--like", "v01", "--has", "external"]),
    ],
)
def test_a_line_says_what_options_say(asked, as_text, as_json, line, options):
    (asked / "one.jsonl").write_text(json.dumps(line) + "\n")
    (asked / "one.parquet").unlink(missing_ok=True)
    as_text("lookup", "--db", "db", "--from", "one.jsonl", "--out", "one.parquet", "-k", "5")
    rows = pq.read_table(asked / "one.parquet").to_pylist()
    weights = line.get("weights", {})
    typed = [part for name, value in weights.items() for part in ("--weight", f"{name.replace('_', '-')}={value}")]
    alone = as_json("lookup", "--db", "db", "-k", "5", *options, *typed)
    assert rows[0]["error"] is None
    assert [row["content_id"] for row in rows] == [row["content_id"] for row in alone]
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in alone], abs=1e-6)
