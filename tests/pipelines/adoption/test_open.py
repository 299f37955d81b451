"""Files of IDs: what exports and other systems write is read back, whichever form it has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from fuseid.core.errors import BadInput
from fuseid.pipelines.adoption.open import open_ids
from fuseid.pipelines.exports.columns import IDS
from fuseid.pipelines.exports.folder import write_manifest


def read(path: Path, scratch: Path, item_map: Path | None = None) -> pa.Table:
    found = open_ids(path, item_map, scratch)
    tables = list(found.tables())
    assert all(table.schema.equals(IDS) and len(table) for table in tables)
    # A second pass gives the same.
    assert pa.concat_tables([IDS.empty_table(), *found.tables()]).equals(pa.concat_tables([IDS.empty_table(), *tables]))
    return pa.concat_tables([IDS.empty_table(), *tables]).sort_by("content_id").combine_chunks()


ROWS = [("a", [1, 0], None), ("b", [1, 0], 1), ("c", [3, 7], None), ("9", [0, 0], 12)]


def rows(*columns: str) -> list[dict]:
    found = []
    for content_id, codes, suffix in ROWS:
        sid = "-".join(map(str, codes)) + ("" if suffix is None else f".{suffix}")
        every = {"content_id": content_id, "item_id": content_id, "sid": sid, "codes": codes, "suffix": suffix,
                 "code_0": codes[0], "code_1": codes[1], "sid_level_0": codes[0], "sid_level_1": codes[1],
                 "sid_0": codes[0], "sid_1": codes[1], "method": "rq", "dataset": "d", "other": 1.5}  # fmt: skip
        found.append({name: every[name] for name in columns})
    return found


LEVELS = ("code_0", "code_1")
LAYOUTS = [
    ("content_id", "sid"), ("content_id", "sid", "suffix"), ("content_id", "codes", "suffix"), ("other", "content_id",
    *LEVELS, "suffix"), ("content_id", "sid", "codes", "suffix"), ("content_id", "sid", *LEVELS, "suffix"),
    ("item_id", "sid"), ("item_id", "sid_level_0", "sid_level_1", "suffix", "method", "dataset"),
    ("item_id", "sid_0", "sid_1", "suffix"),
]  # fmt: skip


def written(path: Path, listed: list[dict]) -> Path:
    table = pa.Table.from_pylist(listed)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in listed))
    return path


@pytest.mark.parametrize(
    ("columns", "suffix"),
    [(c, s) for c in LAYOUTS for s in (".parquet", ".csv", ".jsonl") if "codes" not in c or s != ".csv"],
)
def test_a_table_may_have_any_of_the_columns(tmp_path, columns, suffix):
    path = written(tmp_path / f"ids{suffix}", rows(*columns))
    expected = pa.Table.from_pylist([dict(zip(IDS.names, row, strict=True)) for row in ROWS], schema=IDS)
    assert read(path, tmp_path).equals(expected.sort_by("content_id").combine_chunks())


def test_integers_become_text_and_floats_of_pandas_integers(tmp_path):
    table = pa.table({
        "content_id": pa.array([7, 8], pa.int64()), "codes": pa.array([[1], [1]], pa.list_(pa.uint8())),
        "suffix": pa.array([float("nan"), 2.0]),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "ids.parquet")
    assert read(tmp_path / "ids.parquet", tmp_path).to_pylist() == [
        {"content_id": "7", "codes": [1], "suffix": None},
        {"content_id": "8", "codes": [1], "suffix": 2},
    ]


def test_sidinspectors_sid_may_be_any_text_beside_its_levels(tmp_path):
    listed = [row | {"sid": f"<{row['sid_level_0']}>"} for row in rows("item_id", "sid_level_0", "sid_level_1")]
    assert read(written(tmp_path / "ids.csv", listed), tmp_path)["codes"].to_pylist() == [
        [0, 0],
        [1, 0],
        [1, 0],
        [3, 7],
    ]


def test_a_folder_of_parquet_files_needs_no_manifest(tmp_path):
    listed = rows("content_id", "sid")
    written(tmp_path / "1.parquet", listed[:1])
    written(tmp_path / "2.parquet", listed[1:])
    assert len(read(tmp_path, tmp_path)) == 4


def test_minionerecs_own_layout_of_json_without_a_map(tmp_path):
    index = {"7": ["<a_1>", "<b_20>"], "8": ["<a_1>", "<b_20>", "<c_1>"], "12": ["<a_0>", "<b_3>"]}
    path = tmp_path / "Toys.index.json"
    for indent in (None, 4):
        path.write_text(json.dumps(index, indent=indent))
        assert read(path, tmp_path).to_pylist() == [
            {"content_id": "12", "codes": [0, 3], "suffix": None},
            {"content_id": "7", "codes": [1, 20], "suffix": None},
            {"content_id": "8", "codes": [1, 20], "suffix": 1},
        ]
    assert "the items' numbers are the content_ids" in open_ids(path, None, tmp_path).notes[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON object of items"), ("{}", None), ("[1]", "is no item of the form"),
        ('{"0": ["<a_1>"]', "it ends with"), ('{"0": ["<a_1>"]} x', "it ends with"), ('["<a_1>"]', "is no item"),
        ('{"0": ["<a_1>"] "1": ["<a_1>"]}', "is no item"), ('{"0": []}', "is no item"),
        ('{"0": ["a_1"]}', "is no item"),
        ('{"0": ["<a_1>", "<c_1>"]}', "tokens of item '0' are not of the levels a, b"),
        ('{"0": ["<a_1>"], "1": ["<a_1>", "<b_1>", "<c_1>"]}', "item '1' has 3 tokens, where others have 1"),
        ('{"0": ["<a_99999999999>"]}', "code above"),
    ],
)  # fmt: skip
def test_what_minionerec_does_not_write_is_refused_in_one_line(tmp_path, text, problem):
    path = tmp_path / "x.index.json"
    path.write_text(text)
    if problem is None:
        assert len(read(path, tmp_path)) == 0
        return
    with pytest.raises(BadInput, match=problem) as caught:
        read(path, tmp_path)
    assert "\n" not in str(caught.value)


MAP = {"content_id": ["x", "y", "z"], "number": [2, 0, 1]}


@pytest.mark.parametrize("name", ["map.parquet", "map.csv", "Toys.item2id"])
def test_a_map_names_the_items_of_a_tensor(tmp_path, name):
    torch.save(torch.tensor([[5, 6, 5], [1, 1, 1], [1, 0, 2]]), tmp_path / "semantic_ids.pt")
    table = pa.table(MAP)
    if name.endswith(".parquet"):
        pq.write_table(table, tmp_path / name)
    elif name.endswith(".csv"):
        pa.csv.write_csv(table, tmp_path / name)
    else:
        (tmp_path / name).write_text("x\t2\ny\t0\nz\t1\n")
    assert read(tmp_path / "semantic_ids.pt", tmp_path, tmp_path / name).to_pylist() == [
        {"content_id": "x", "codes": [5, 1], "suffix": 2},
        {"content_id": "y", "codes": [5, 1], "suffix": 1},
        {"content_id": "z", "codes": [6, 1], "suffix": None},
    ]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"number": [0, 1], "content_id": ["x", "y"]}, "no item of number 2"),
        ({"number": [0, 1, 1, 2], "content_id": list("wxyz")}, "number 1 twice"),
        ({"number": [0, None, 2], "content_id": list("xyz")}, "a number is missing"),
        ({"number": [0, 1, 2], "content_id": ["x", None, "z"]}, "row 2: content_id is None"),
        ({"number": [0, 1, 2]}, "cannot read .* as a map"),
        ({"number": [], "content_id": []}, "no item of number 0"),
    ],
)
def test_a_map_that_does_not_belong_to_the_ids_is_refused_in_one_line(tmp_path, table, problem):
    torch.save(torch.zeros((2, 3), dtype=torch.int64), tmp_path / "semantic_ids.pt")
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    with pytest.raises(BadInput, match=problem) as caught:
        read(tmp_path / "semantic_ids.pt", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros((3, 2)), r"integers \[levels \+ 1, items\], it holds torch.float32 \[3, 2\]"),
        (torch.zeros(3, dtype=torch.int64), "it holds torch.int64"),
        ({"codes": 1}, "it holds dict"),
        (torch.tensor([[0, 1], [0, -1], [0, 0]]), "column 1: codes are integers from 0"),
        (np.float64(1), "is no tensor"),
    ],
)
def test_a_file_that_is_no_tensor_of_ids_is_refused_in_one_line(tmp_path, tensor, problem):
    torch.save(tensor, tmp_path / "ids.pt")
    with pytest.raises(BadInput, match=problem) as caught:
        read(tmp_path / "ids.pt", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.parquet", "ids.txt", "empty"])
def test_what_holds_no_ids_is_refused_by_name(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "ids.txt").write_text("a 1-2\n")
    with pytest.raises(BadInput, match=name):
        open_ids(tmp_path / name, None, tmp_path)


def test_an_item_map_beside_a_table_is_refused(tmp_path):
    path = written(tmp_path / "ids.parquet", rows("content_id", "sid"))
    with pytest.raises(BadInput, match=r"item_map=.* name items by numbers"):
        open_ids(path, path, tmp_path)


def test_an_export_in_a_form_that_is_not_read_names_those_that_are(tmp_path):
    write_manifest(tmp_path, {"format": "forge"})
    with pytest.raises(BadInput, match="format forge; IDs are adopted from parquet, grid, minionerec"):
        open_ids(tmp_path, None, tmp_path)
