"""Columns of IDs: what is no ID is refused in one line that names the file and the row."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.core.records import SemanticId
from fuseid.pipelines.adoption.open import open_ids
from fuseid.pipelines.adoption.table_columns import Layout

INT, TEXT, LIST = pa.int64(), pa.string(), pa.list_(pa.int64())
BAD = [
    ({"content_id": ["a", None], "sid": ["1", "1"]}, "row 2: content_id is None"),
    ({"content_id": ["a", ""], "sid": ["1", "1"]}, "row 2: content_id is ''"),
    ({"content_id": [1.5, 2.5], "sid": ["1", "1"]}, "content_id must hold text, whole numbers or UUIDs, got double"),
    ({"content_id": [["a"]], "sid": ["1"]}, "whole numbers or UUIDs"),
    ({"content_id": ["a"], "vector": [[1.0]]}, "has no column sid, codes or code_0"),
    ({"id": ["a"], "sid": ["1"]}, "has no column content_id; it has id, sid"),
    ({"content_id": ["a"], "sid_level_1": [1]}, "has no column sid, codes or code_0"),
    ({"content_id": ["a", "b"], "sid": ["1-2", "1-02"]}, "row 2: '1-02' is no semantic ID"),
    ({"content_id": ["a"], "sid": ["1-2.0"]}, "row 1: '1-2.0' is no semantic ID"),
    ({"content_id": ["a"], "sid": ["1-2\n"]}, "is no semantic ID"),
    ({"content_id": ["a"], "sid": [None]}, "column sid is null|is no semantic ID"),
    ({"content_id": ["a", "b"], "sid": ["1", None]}, "row 2: 'None' is no semantic ID"),
    ({"content_id": ["a"], "sid": [12]}, "column sid is int64; it has to hold texts"),
    ({"content_id": ["a"], "sid": ["1-99999999999"]}, "no integer from 0 to 2147483647"),
    ({"content_id": ["a"], "sid": ["1-2.99999999999"]}, "no integer from 0 to 2147483647"),
    ({"content_id": ["a", "b"], "sid": ["1-2", "1-2-3"]}, "row 2: its ID has another number of levels than the 2"),
    ({"content_id": ["a", "b"], "codes": [[1, 2], [1]]}, "row 2: its ID has another number of levels"),
    ({"content_id": ["a"], "codes": pa.array([[]], LIST)}, "row 1: codes is empty"),
    ({"content_id": ["a", "b"], "codes": [[1], None]}, "row 2: codes is missing"),
    ({"content_id": ["a"], "codes": [[1, None]]}, "codes holds null"),
    ({"content_id": ["a", "b"], "codes": [[1, 2], [1, -2]]}, "row 2: codes holds a negative code"),
    ({"content_id": ["a"], "codes": [[1.5]]}, "codes holds what is no integer"),
    ({"content_id": ["a"], "codes": [[1 << 31]]}, "codes holds what is no integer"),
    ({"content_id": ["a"], "codes": ["1-2"]}, "column codes is string; it has to hold lists"),
    ({"content_id": ["a", "b"], "code_0": [1, 1], "code_1": [1, None]}, "row 2: code_1 is missing: all IDs need"),
    ({"content_id": ["a", "b"], "code_0": [1, -1]}, "row 2: code_0 is negative"),
    ({"content_id": ["a"], "code_0": ["x"]}, "code_0 holds what is no integer"),
    ({"content_id": ["a", "b"], "codes": [[1], [1]], "suffix": [1, -1]}, "row 2: suffix is negative"),
    ({"content_id": ["a"], "codes": [[1]], "suffix": [0.5]}, "suffix holds what is no integer"),
    ({"content_id": ["a", "b"], "sid": ["1.1", "1.2"], "suffix": [1, 3]}, "row 2: sid and suffix contradict"),
    ({"content_id": ["a", "b"], "sid": ["1-2", "3-4"], "codes": [[1, 2], [3, 5]]}, "row 2: its columns contradict"),
    ({"content_id": ["a"], "sid": ["1-2"], "code_0": [1]}, "row 1: its columns contradict"),
    ({"item_id": ["a", "b"], "sid_0": [1, 1], "method": ["x", "y"]}, r"several values of method \(x, y\)"),
]


@pytest.mark.parametrize(("table", "problem"), BAD)
def test_bad_columns_are_refused_in_one_line(tmp_path, table, problem):
    pq.write_table(pa.table(table), tmp_path / "ids.parquet")
    with pytest.raises(BadInput, match=problem) as caught:
        list(open_ids(tmp_path / "ids.parquet", None, tmp_path).tables())
    assert "\n" not in str(caught.value)
    assert "ids.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("ids.parquet", b"PAR1", "cannot read"),
        ("ids.csv", b"", "cannot read"),
        ("ids.csv", b"content_id,sid\na\n", "cannot read"),
        ("ids.csv", b"content_id,code_0\na,x\n", "cannot read"),
        ("ids.csv", b"content_id,codes\na,1\n", "a CSV has no lists"),
        ("ids.csv", b"content_id,sid\n\xff,1\n", "line 2: the byte 0xFF is not UTF-8"),
        ("ids.jsonl", b"", "cannot read"),
        ("ids.jsonl", b'{"content_id": "a", "sid": "1"}\n{"content_id": ["a"], "sid": "1"}\n', "cannot read"),
        ("ids.jsonl", b'{"content_id": "a", "sid": "1"}\nnonsense\n', "cannot read"),
    ],
)
def test_files_that_cannot_be_read_are_refused_in_one_line(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=problem) as caught:
        list(open_ids(tmp_path / name, None, tmp_path).tables())
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    bad = pa.Array.from_buffers(TEXT, 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")])
    layout = Layout.of(["content_id", "sid"], Path("ids"))
    with pytest.raises(BadInput, match="row 1: content_id is a value that is not UTF-8"):
        layout.ids(pa.table({"content_id": bad, "sid": ["1"]}), Path("ids"), 1)


IDS = st.lists(
    st.builds(SemanticId, st.tuples(st.integers(0, 300), st.integers(0, 9)), st.none() | st.integers(1, 40)), min_size=1
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(IDS)
def test_a_sid_is_parsed_as_semantic_id_parses_it(sids):
    table = pa.table({"content_id": [f"i{n}" for n in range(len(sids))], "sid": list(map(str, sids))})
    found = Layout.of(table.column_names, Path("ids")).ids(table, Path("ids"), 1)
    assert found["codes"].to_pylist() == [list(sid.codes) for sid in sids]
    assert found["suffix"].to_pylist() == [sid.suffix for sid in sids]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text("0123456789-.\n ٣", min_size=1, max_size=6))
def test_a_text_is_refused_where_semantic_id_refuses_it(text):
    table = pa.table({"content_id": ["a"], "sid": [text]})
    try:
        expected = SemanticId.parse(text)
    except ValueError:
        expected = None
    try:
        found = Layout.of(table.column_names, Path("ids")).ids(table, Path("ids"), 1)
    except BadInput:
        found = None
    assert (found is None) == (expected is None)
    assert found is None or found.to_pylist()[0] == {
        "content_id": "a", "codes": list(expected.codes), "suffix": expected.suffix
    }  # fmt: skip


def test_every_row_is_counted_through_the_tables_of_a_file(tmp_path, monkeypatch):
    from fuseid.pipelines.adoption import tables

    monkeypatch.setattr(tables, "TABLE_ROWS", 10)
    lines = [json.dumps({"content_id": f"i{n}", "sid": "1-2" if n != 34 else "x"}) for n in range(50)]
    (tmp_path / "ids.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.Table.from_pylist(list(map(json.loads, lines))), tmp_path / "ids.parquet", row_group_size=7)
    for name in ("ids.jsonl", "ids.parquet"):
        with pytest.raises(BadInput, match="row 35: 'x' is no semantic ID"):
            list(open_ids(tmp_path / name, None, tmp_path).tables())
