"""A list of ids: every kind of file gives the same ids, and one that is damaged is refused with the place."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.sources.id_list import IdList, IdSet, given_ids

HOSTILE = ["it's", "日本語 🍎", " spaces ", "%_\\", "a,b", '"', "x" * 5000]


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        list(IdList(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(path: Path, ids: list[str]) -> Path:
    if path.suffix == ".txt":
        path.write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"content_id": name}) + "\n" for name in ids), encoding="utf-8")
    elif path.suffix == ".csv":
        quoted = ('"' + name.replace('"', '""') + '"' for name in ids)
        path.write_text("content_id,n\n" + "".join(f"{name},1\n" for name in quoted), encoding="utf-8")
    else:
        pq.write_table(pa.table({"n": [1] * len(ids), "content_id": ids}), path)
    return path


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl", ".parquet"])
def test_ids_are_read_as_they_are_written(tmp_path, suffix):
    assert list(IdList(write(tmp_path / f"ids{suffix}", HOSTILE))) == HOSTILE


def test_lines_may_end_as_on_windows_and_the_last_one_without_an_end(tmp_path):
    (tmp_path / "ids.txt").write_bytes("\ufeffa\r\nb\u2028c\r\nd".encode())
    assert list(IdList(tmp_path / "ids.txt")) == ["a", "b\u2028c", "d"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7, 8], pa.int64()),
        pa.array(["7", "8"]).dictionary_encode(),
        pa.array(["7", "8"], pa.large_string()),
        pa.array(["7", "8"], pa.string_view()),
    ],
    ids=str,
)
def test_parquet_may_hold_text_of_any_kind_or_integers(tmp_path, column):
    pq.write_table(pa.table({"content_id": column}), tmp_path / "ids.parquet")
    assert list(IdList(tmp_path / "ids.parquet")) == ["7", "8"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ids.txt", b"a\n\nb\n", "ids.txt, line 2 is empty"),
        ("ids.txt", b"a\n\xff\n", "line 2: the byte 0xFF is not UTF-8"),
        ("ids.csv", b"id,n\na,1\n", "has no column content_id; it has id, n"),
        ("ids.csv", b"", "has no column content_id; it has none"),
        ("ids.csv", b"content_id,deleted\na,false\n", "has a column deleted, so it is a manifest"),
        ("ids.csv", b'content_id,n\na,1\n"",2\n', "row 2 (line 3): content_id is ''"),
        ("ids.csv", b'content_id,n\na,"1\n', "line 2: the quote that opens here is never closed"),
        ("ids.csv", b"content_id,n\na\n", "line 2 has fewer fields"),
        ("ids.jsonl", b'{"id": "a"}\n', "has no column content_id; it has id"),
        ("ids.jsonl", b'{"content_id": "a"}\n{"content_id": null}\n', "row 2 (line 2): content_id is None"),
        ("ids.jsonl", b'{"content_id": "a"}\n{"content', "line 2 is not JSON"),
        ("ids.jsonl", b'{"content_id": "a"}\n{"content_id": [1]}\n', "content_id is [1]"),
        ("ids.parquet", b"rubbish", "cannot read"),
        ("ids.xlsx", b"a", "a list of ids is .txt, .parquet, .jsonl, .csv or .tsv"),
        ("ids", b"a", "a list of ids is .txt, .parquet, .jsonl, .csv or .tsv"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"id": ["a"]}, "has no column content_id; it has id"),
        ({"content_id": ["a"] * 20_000 + [None]}, "row 20001: content_id is None"),
        ({"content_id": ["a", ""]}, "row 2: content_id is ''"),
        ({"content_id": [1.5]}, "content_id must hold text, whole numbers or UUIDs, got double"),
        ({"content_id": [True]}, "content_id must hold text, whole numbers or UUIDs, got bool"),
    ],
)
def test_parquet_that_cannot_be_used_is_refused(tmp_path, table, said):
    pq.write_table(pa.table(table), tmp_path / "ids.parquet")
    assert said in refusal(tmp_path / "ids.parquet")


def test_a_missing_list_is_refused(tmp_path):
    assert "no such list of ids" in refusal(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    assert "no such files" in refusal(tmp_path / "folder.txt")


@pytest.mark.parametrize("ids", [["a", ""], ["a", None], ["a", 3]])
def test_ids_of_a_program_must_be_text(ids):
    with pytest.raises(BadInput, match="id 2 is"):
        list(given_ids(ids))


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), max_size=60))
def test_a_set_has_each_id_once_with_its_first_place(tmp_path_factory, ids):
    found = IdSet(ids, tmp_path_factory.mktemp("ids"))
    first = {}
    for place, content_id in enumerate(ids):
        first.setdefault(content_id, place)
    assert sorted(found) == sorted((place, content_id) for content_id, place in first.items())
    assert found.listed == len(ids)


def test_memory_does_not_grow_with_the_list(tmp_path):
    def peak(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        try:
            ids = IdSet((f"item-{number:09d}" for number in range(count)), folder)
            assert sum(1 for _ in ids) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(200_000) < 1.2 * peak(50_000)
