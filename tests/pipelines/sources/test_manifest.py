"""A truncated, damaged or unfinished file is refused with its place, and never taken for a shorter list."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.sources.manifest import Manifest
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors


def refusal(path: Path, kind=open_source) -> str:
    with pytest.raises(BadInput) as caught:
        list(kind(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


NEVER_CLOSED = "the quote that opens here is never closed"
TEXT_FOLLOWS = "text follows the quote that closes a field"
BARE = "a quote within a field that is not in quotes; write the field in quotes and the quote twice"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,"never closed\nb,x\nc,y\n', f"line 2: {NEVER_CLOSED}"),
        ('a,x\nb,"never\nc,y\n', f"line 3: {NEVER_CLOSED}"),
        ('a,"legal,\nof ""two"" lines"\nb,"never\n', f"line 4: {NEVER_CLOSED}"),
        ('"a\nid","never\nb,y\n', f"line 3: {NEVER_CLOSED}"),  # the record begins on line 2
        ('"a\r\nid","never\r\nb,y\r\n', f"line 3: {NEVER_CLOSED}"),
        # Read loosely, b would be part of a's caption.
        (
            'a,"never closed\nb,"closed"\n',
            f"line 3: {TEXT_FOLLOWS}, whose first one is on line 2",
        ),
        (
            'a,"closed" and more\n',
            f"line 2: {TEXT_FOLLOWS}; a quote that belongs to the text",
        ),
        ('a,"5" pipe"\n', f"line 2: {TEXT_FOLLOWS}"),
        ('a,"closed" \n', f"line 2: {TEXT_FOLLOWS}"),
        ('a,5" screen\n', f"line 2: {BARE}"),
        ('a, "x"\n', f"line 2: {BARE}"),
        ('a,x\n"b\nc",a 15" screen\n', f"line 4: {BARE}"),  # the record begins on line 3
        ('"', "line 2: the quote"),
        ("a,\0\0\0\n", "line 2 holds a NUL byte"),
        ("a,x\n\0\0\0", "line 3 holds a NUL byte"),
        ('a,"' + "x" * (17 << 20), f"line 2: {NEVER_CLOSED}"),
        ("a," + "x" * (17 << 20), "line 2 is no CSV (field larger than field limit"),
    ],
)
def test_a_damaged_csv_is_refused(tmp_path, text, said):
    (tmp_path / "m.csv").write_bytes(f"content_id,caption\n{text}".encode())
    assert said in refusal(tmp_path / "m.csv")


def test_a_quote_in_the_header_of_a_csv_is_refused_too(tmp_path):
    (tmp_path / "m.csv").write_text('content_id,cap"tion\na,x\n')
    assert f"line 1: {BARE}" in refusal(tmp_path / "m.csv")


def test_quotes_that_are_written_twice_are_text(tmp_path):
    (tmp_path / "m.csv").write_text('content_id,caption\na,"5"" pipe"\n\nb,"say ""so"""\nc,""\r\n"d","e\r\nf"')
    assert [item.caption for item in Manifest(tmp_path / "m.csv")] == ['5" pipe', 'say "so"', None, "e\r\nf"]


def test_a_csv_in_utf16_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("content_id,caption\na,x\n", encoding="utf-16-le")
    assert "line 1: the text is UTF-16LE, not UTF-8: iconv -f utf-16le" in refusal(tmp_path / "m.csv")


@settings(max_examples=60)
@given(data=st.data(), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_a_csv_cut_anywhere_is_refused_or_lists_the_items_before_the_cut(data, quoting):
    captions = data.draw(st.lists(st.text('ab ,"\n', min_size=1, max_size=6), min_size=1, max_size=6))
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=quoting, lineterminator="\n")
    writer.writerows([["content_id", "uri", "caption"], *([f"i{n}", "x", text] for n, text in enumerate(captions))])
    cut = buffer.getvalue()[: data.draw(st.integers(0, len(buffer.getvalue())))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.csv")
        path.write_text(cut)
        try:
            items = list(Manifest(path))
        except BadInput:
            return
    found = [item.caption or "" for item in items]
    assert [item.content_id for item in items] == [f"i{n}" for n in range(len(items))]
    assert found[:-1] == captions[: len(found)][:-1]
    # A text that was cut off looks like a short one: source.expect_rows and _SUCCESS are for this case.
    assert not found or captions[len(found) - 1].startswith(found[-1])


def test_a_jsonl_cut_within_its_last_line_is_refused(tmp_path):
    lines = [json.dumps({"content_id": f"i{n}", "caption": "é words"}, ensure_ascii=False) for n in range(3)]
    whole = "\n".join(lines).encode()
    start = len(whole) - len(lines[-1].encode())
    for end in range(start + 1, len(whole)):
        (tmp_path / "m.jsonl").write_bytes(whole[:end])
        assert "line 3 is not JSON" in (said := refusal(tmp_path / "m.jsonl")) or "line 3 ends within" in said


def test_a_parquet_file_cut_anywhere_is_refused(tmp_path):
    table = pa.table({"content_id": [f"i{n}" for n in range(100)], "caption": ["words"] * 100})
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=10)
    whole = (tmp_path / "m.parquet").read_bytes()
    for end in range(0, len(whole), 97):
        (tmp_path / "m.parquet").write_bytes(whole[:end])
        assert "cannot read" in refusal(tmp_path / "m.parquet")
    # A hole in the middle, its footer in place.
    (tmp_path / "m.parquet").write_bytes(whole[:50] + bytes(400) + whole[450:])
    assert "cannot read" in refusal(tmp_path / "m.parquet")


def test_vectors_that_were_cut_off_are_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((50, 8)))
    (tmp_path / "v.ids.txt").write_text("".join(f"i{n}\n" for n in range(50)))
    whole = (tmp_path / "v.npy").read_bytes()
    for end in (10, 100, 128, 128 + 8 * 8 * 25, len(whole) - 1):
        (tmp_path / "v.npy").write_bytes(whole[:end])
        assert "cannot read vectors" in refusal(tmp_path / "v.npy", Vectors)
    pq.write_table(pa.table({"content_id": ["a", "b"], "vector": [[1.0], [2.0]]}), tmp_path / "v.parquet")
    (tmp_path / "v.parquet").write_bytes((tmp_path / "v.parquet").read_bytes()[:-9])
    assert "cannot read vectors" in refusal(tmp_path / "v.parquet", Vectors)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_manifest_that_is_written_to_while_it_is_read_is_refused(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"content_id": ["a", "b"], "caption": ["x", "y"]}), path)
    else:
        rows = {"csv": "content_id,caption\na,x\nb,y\n", "jsonl": '{"content_id": "a", "caption": "x"}\n' * 2}
        path.write_text(rows[suffix])
    items = iter(Manifest(path))
    next(items)
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(NotReady, match="was written to while it was read"):
        list(items)


def test_a_manifest_that_is_replaced_while_it_is_read_is_read_as_it_was(tmp_path):
    path, new = tmp_path / "m.csv", tmp_path / "new"
    path.write_text("content_id,caption\na,x\nb,y\n")
    items = iter(Manifest(path))
    next(items)
    new.write_text("content_id,caption\nc,x\n")
    os.replace(new, path)
    assert [item.content_id for item in items] == ["b"]
    assert [item.content_id for item in Manifest(path)] == ["c"]


WITHDRAWN = {
    "csv": ["true", "TRUE", "True", "1", " true "],
    "jsonl": [True, 1],
    "parquet": [pa.array([True]), pa.array([1], pa.int8()), pa.array([1.0])],
}
LISTED = {
    "csv": ["", "false", "FALSE", "0"],
    "jsonl": [False, 0, None],
    "parquet": [pa.array([False]), pa.array([0]), pa.array([None], pa.bool_()), pa.array([None, 0.0]).slice(0, 1)],
}
WRONG = {
    "csv": ["yes", "2", "2026-11-27"],
    "jsonl": ["true", "", 2, -1, [], {}],
    "parquet": [pa.array(["true"]), pa.array([2]), pa.array([0], pa.timestamp("s"))],
}


def one_row(tmp_path, form, value):
    """A manifest of one row with a caption, and a value of `deleted`."""
    path = tmp_path / f"m.{form}"
    if form == "csv":
        path.write_text(f"content_id,caption,deleted\na,words,{value}\n")
    elif form == "jsonl":
        path.write_text(json.dumps({"content_id": "a", "caption": "words", "deleted": value}))
    else:
        pq.write_table(pa.table({"content_id": ["a"], "caption": ["words"], "deleted": value}), path)
    (item,) = Manifest(path)
    return item


def each(values):
    return [(form, value) for form, some in values.items() for value in some]


@pytest.mark.parametrize(("form", "value"), each(WITHDRAWN))
def test_a_deleted_row_withdraws_its_item_and_nothing_else_of_it_is_read(tmp_path, form, value):
    item = one_row(tmp_path, form, value)
    assert (item.deleted, item.caption, item.problem) == (True, None, None)


@pytest.mark.parametrize(("form", "value"), each(LISTED))
def test_false_null_and_nothing_delete_nothing(tmp_path, form, value):
    item = one_row(tmp_path, form, value)
    assert (item.deleted, item.caption, item.problem) == (False, "words", None)


@pytest.mark.parametrize(("form", "value"), each(WRONG))
def test_any_other_value_of_deleted_is_the_problem_of_its_row(tmp_path, form, value):
    item = one_row(tmp_path, form, value)
    assert not item.deleted
    assert "deleted must be true or false" in str(item.problem)


def test_a_manifest_without_uri_and_caption_may_only_withdraw(tmp_path):
    (tmp_path / "m.csv").write_text("content_id,deleted\na,true\nb,false\n")
    assert "row 2 (line 3): 'b' is not deleted" in refusal(tmp_path / "m.csv")
    (tmp_path / "m.jsonl").write_text('{"content_id": "a", "deleted": true}\n{"content_id": "b", "caption": "c"}\n')
    assert [(item.content_id, item.deleted) for item in Manifest(tmp_path / "m.jsonl")] == [("a", True), ("b", False)]


def test_a_row_without_an_id_withdraws_nothing(tmp_path):
    (tmp_path / "m.csv").write_text("content_id,deleted\n,true\n")
    assert "row 1 (line 2): content_id is ''" in refusal(tmp_path / "m.csv")


def test_deleted_is_a_column_that_is_read(tmp_path):
    (tmp_path / "m.csv").write_text("content_id,caption,deleted,other\na,b,,c\n")
    list(manifest := Manifest(tmp_path / "m.csv"))
    assert manifest.ignored == ("other",)
