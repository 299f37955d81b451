"""The queries of a file: every line has its rows or its error, in order; a file is complete or absent."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines import lookup_file as verb
from fuseid.pipelines.lookup import RESULT_COLUMNS
from fuseid.pipelines.lookup_file import lookup_file
from fuseid.pipelines.search import bulk
from fuseid.pipelines.store.store import Store


@pytest.fixture(scope="module")
def words(tmp_path_factory, make_workspace):
    workspace = make_workspace(tmp_path_factory.mktemp("lookup-file"))
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i)} for i in range(4)]
    workspace.ingest([*rows, *workspace.captions(12)])
    workspace.fit()
    return workspace


def lines(path: Path, *queries: object) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in queries))
    return path


def test_each_line_has_its_results_or_its_error_in_order(words, tmp_path):
    (tmp_path / "pictures").symlink_to(words.media)
    queries = lines(
        tmp_path / "queries.jsonl",
        {"text": "a dog number 0"}, {"like": "t001", "k": 2}, "{no json", "", {"image": "pictures/2.png", "k": 1},
        {"txt": "a dog"}, {"like": "nobody"}, {"sid": "0", "where": "kind = 'audio'"}, [1], {"text": 5}, {"k": 3},
        {"vector": [1, 2]}, {"like": "t002", "k": True}, '{"like": "t002", "like": "t001"}',
    )  # fmt: skip
    catalog = words.catalog()
    summary = lookup_file(catalog, queries, tmp_path / "out.parquet", {"k": 3})
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names[:2] + table.column_names[-1:] == ["query", "rank", "error"]
    rows = table.to_pylist()
    assert [row["query"] for row in rows] == [1, 1, 1, 2, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    found = {}
    for row in rows:
        found.setdefault(row["query"], []).append(row["content_id"])
    assert found[1] == catalog.search(text="a dog number 0", k=3)["content_id"].to_pylist()
    assert found[2] == catalog.search(like="t001", k=2)["content_id"].to_pylist()
    assert found[5] == ["p2"]
    assert [row["rank"] for row in rows[:5]] == [1, 2, 3, 1, 2]
    errors = {row["query"]: row["error"] for row in rows if row["error"] is not None}
    assert all(row["content_id"] is None and row["rank"] is None for row in rows if row["error"])
    assert errors.keys() == {3, 6, 7, 8, 9, 10, 11, 12, 13, 14}
    said = {
        3: "is no JSON",
        6: "did you mean text",
        7: "no item 'nobody'",
        9: "is no object",
        10: "text: input should",
        14: "twice",
    }
    assert all(part in errors[number] for number, part in said.items())
    counts = {"queries": 13, "results": 6, "errors": 10}
    assert summary == {"version": words.store().dataset("contents").version, **counts}
    assert table.schema.metadata[b"fuseid.version"] == str(summary["version"]).encode()


def test_a_line_may_have_filters_as_they_are_typed_in_a_shell(words, tmp_path):
    queries = lines(
        tmp_path / "queries.jsonl",
        {"text": "a dog", "kind": "image"}, {"kind": ["text"], "has": "caption", "since": "2020-01-01", "k": 2},
        {"kind": 5}, {"kind": "imgae"}, {"text": "a dog"}, {"since": ["2020-01-01"]}, {"text": "a dog", "attr": "n>="},
    )  # fmt: skip
    lookup_file(words.catalog(), queries, tmp_path / "out.parquet", {"k": 3})
    found = {}
    for row in pq.read_table(tmp_path / "out.parquet").to_pylist():
        found.setdefault(row["query"], []).append(row["kind"] or row["error"])
    assert (found[1], found[2], len(found[5])) == (["image"] * 3, ["text"] * 2, 3)
    said = {3: "kind is text", 4: "did you mean image", 6: "since is text", 7: "attr"}
    assert all(part in found[number][0] for number, part in said.items())


def test_a_file_of_many_queries_is_written_in_pieces(words, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "_ROWS", 10)
    monkeypatch.setattr(bulk, "_TOGETHER", 3)
    texts = [f"a house number {number}" for number in range(11)]
    queries = lines(tmp_path / "queries.jsonl", *({"text": text} for text in texts))
    lookup_file(words.catalog(), queries, tmp_path / "out.parquet", {"k": 4})
    written = pq.ParquetFile(tmp_path / "out.parquet")
    assert written.num_row_groups == 4
    ids = written.read()["content_id"].to_pylist()
    assert [ids[4 * number : 4 * number + 4] for number in range(11)] == [
        words.catalog().search(text=text, k=4)["content_id"].to_pylist() for text in texts
    ]


def test_no_query_gives_a_file_without_rows_and_with_all_columns(words, tmp_path):
    summary = lookup_file(words.catalog(), lines(tmp_path / "none.jsonl", ""), tmp_path / "out.parquet")
    assert summary["queries"] == 0
    scores = ["score", "score_text", "score_image", "space"]
    names = ["query", "rank", *RESULT_COLUMNS, *scores, "next", "error"]
    assert pq.read_schema(tmp_path / "out.parquet").names == names


def test_a_line_that_is_too_long_is_an_error_and_is_never_in_memory(words, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "_MOST_BYTES", 40)
    queries = lines(tmp_path / "long.jsonl", {"text": "x" * 100}, {"like": "t001", "k": 1}, '{"text": "' + "y" * 500)
    assert lookup_file(words.catalog(), queries, tmp_path / "out.parquet")["errors"] == 2
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["query"], bool(row["error"])) for row in rows] == [(1, True), (2, False), (3, True)]


def test_a_failure_leaves_no_file(words, tmp_path, monkeypatch):
    queries = lines(tmp_path / "queries.jsonl", {"like": "t001"}, {"like": "t002"})

    class Breaks:
        def begin(self, stage, total):
            assert total == 2

        def advance(self, stage, done):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lookup_file(words.catalog(), queries, tmp_path / "out.parquet", progress=Breaks())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["queries.jsonl"]


def test_files_that_cannot_be_used_are_refused(words, tmp_path, bare):
    queries = lines(tmp_path / "queries.jsonl", {"like": "t001"})
    there = tmp_path / "there.parquet"
    there.touch()
    for given, out, said in (
        (tmp_path / "nowhere", tmp_path / "out.parquet", "queries .*nowhere: No such file"),
        (queries, tmp_path / "out.csv", "new .parquet file"),
        (queries, there, "exists; choose another out="),
        (queries, there / "out.parquet", "cannot write"),
    ):
        with pytest.raises(BadInput, match=said):
            lookup_file(words.catalog(), given, out)
    Store.create(bare.uri("empty"))
    with pytest.raises(StoreError):
        lookup_file(bare.catalog("empty"), queries, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
