"""Readers of the formats: an invalid file is refused with one line of BadInput, and nothing is unpickled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.registry import FORMATS

from .format_items import export, ids_of, item, table_of

TABLE = table_of([item(f"item {n:03d}", [n % 3, n % 2, n], n % 4 or None, caption=f"number {n}") for n in range(50)])
READ = {
    "parquet": ("ids-00000.parquet",),
    "grid": ("items.parquet", "semantic_ids.pt"),
    "minionerec": ("items.parquet", "items.index.json"),
    "openonerec": ("items.parquet", "pid2sid.parquet"),
    "forge": ("item_sid.csv", "item_words.csv"),
    "torcheasyrec": ("v1/manifest.json", "v1/item_to_sid/part-0.parquet"),
    "static": ("items.parquet", "sids_digit.npy"),
}
FILES = [(name, file) for name, files in READ.items() for file in files]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("exports")
    for name, form in FORMATS.items():
        export(form, TABLE, root / name)
    return root


@pytest.fixture
def folder_of(exported, tmp_path):
    return lambda name: Path(shutil.copytree(exported / name, tmp_path / name))


def refused(name: str, folder: Path) -> str:
    with pytest.raises(BadInput) as error:
        FORMATS[name].read(folder)
    message = str(error.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_folder_is_refused(name, tmp_path):
    refused(name, tmp_path / "none")


@pytest.mark.parametrize(("name", "file"), FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "noise", "half", "folder"])
def test_a_damaged_file_is_refused(name, file, damage, folder_of):
    folder = folder_of(name)
    path = folder / file
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        noise = np.random.default_rng(0).bytes(len(data))
        path.write_bytes({"empty": b"", "noise": noise, "half": data[: len(data) // 2]}[damage])
    refused(name, folder)


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_only_trainers_read_are_not_needed(name, folder_of):
    folder = folder_of(name)
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in READ[name]:
            path.unlink()
    assert FORMATS[name].read(folder).equals(ids_of(TABLE))


class Calls:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_object_is_unpickled(folder_of, tmp_path):
    trap = tmp_path / "trap"
    grid = folder_of("grid")
    torch.save(Calls(trap), grid / "semantic_ids.pt")
    refused("grid", grid)
    static = folder_of("static")
    np.save(static / "sids_digit.npy", np.array([Calls(trap)], dtype=object), allow_pickle=True)
    refused("static", static)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "it holds no plain tensor"),
        (torch.zeros(4, 50), "float32"),
        (torch.zeros(50, dtype=torch.int64), r"int64 \[50\], not int64 \[levels \+ 1, items\]"),
        (torch.zeros(4, 49, dtype=torch.int64), "50 items, 49 codes"),
        (torch.zeros(4, 50, dtype=torch.int64) - 1, "codes from -1 to -1"),
        (torch.zeros(4, 50, dtype=torch.int64) + (1 << 31), "codes from 2147483648"),
        (torch.zeros(4, 50, dtype=torch.int64).to_sparse(), "it holds no plain tensor"),
    ],
)
def test_a_tensor_of_another_type_or_shape_is_refused(held, message, folder_of):
    folder = folder_of("grid")
    torch.save(held, folder / "semantic_ids.pt")
    with pytest.raises(BadInput, match=message):
        FORMATS["grid"].read(folder)


def test_an_array_unsorted_or_of_another_shape_is_refused(folder_of):
    folder = folder_of("static")
    path = folder / "sids_digit.npy"
    codes = np.load(path)
    for held, message in [
        (codes[::-1], "its rows are not sorted"),
        (codes[:, :-1], r"its shape is \(50, 3\), not \(50, 4\)"),
        (codes.astype(np.float32), "codes of type float32"),
        (codes - 1, "codes from -1"),
    ]:
        np.save(path, held)
        with pytest.raises(BadInput, match=message):
            FORMATS["static"].read(folder)


def test_an_array_whose_header_claims_more_than_memory_is_refused(folder_of):
    folder = folder_of("static")
    with (folder / "sids_digit.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (1 << 60, 4)})
    refused("static", folder)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["<a_0>", "<b_0>"], "not every item has 3 tokens, or one more"),
        (["<a_0>", "<b_0>", "<c_0>", "<d_1>", "<e_1>"], "not every item has 3 tokens"),
        (["<a_0>", "<c_0>", "<b_0>"], "its tokens are not <a_0> to <z_0> in that order"),
        (["<a_0>", "<b_0>", None], "its tokens are not"),
        (["<a_0>", "<b_0>", "<c_-1>"], "codes from -1"),
        (["<a_0>", "<b_0>", "<c_x>"], "x"),
        (["<a_0>", "<b_0>", "<c_99999999999>"], "99999999999"),
        (["<a_0>", "<b_0>", 0], "int"),
        ("<a_0><b_0><c_0>", "not every item has 3 tokens"),
        (None, "not every item has 3 tokens"),
    ],
)
def test_an_index_of_other_tokens_is_refused(tokens, message, folder_of):
    folder = folder_of("minionerec")
    path = folder / "items.index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "7": tokens}))
    assert message in refused("minionerec", folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"0": ["<a_0>", "<b_0>", "<c_0>"]}', "[" * 100_000, "\xff"])
def test_json_of_another_shape_is_refused(text, folder_of):
    folder = folder_of("minionerec")
    (folder / "items.index.json").write_text(text, encoding="latin-1")
    refused("minionerec", folder)
    generation = folder_of("torcheasyrec")
    (generation / "v1" / "manifest.json").write_text(text, encoding="latin-1")
    refused("torcheasyrec", generation)


@pytest.mark.parametrize("name", ["parquet", "openonerec", "torcheasyrec"])
@pytest.mark.parametrize(
    "change",
    [
        lambda codes: [None, *codes[1:]],
        lambda codes: [[0, 0], *codes[1:]],
        lambda codes: [[], *codes[1:]],
        lambda codes: [[0, None, 0], *codes[1:]],
        lambda codes: [[0, -1, 0], *codes[1:]],
        lambda codes: [[0, 1 << 40, 0], *codes[1:]],
        lambda codes: [str(row) for row in codes],
    ],
)
def test_lists_that_are_no_codes_are_refused(name, change, folder_of):
    folder = folder_of(name)
    file, column = {
        "parquet": ("ids-00000.parquet", "codes"),
        "openonerec": ("pid2sid.parquet", "sid"),
        "torcheasyrec": ("v1/item_to_sid/part-0.parquet", "codebook"),
    }[name]
    table = pq.ParquetFile(folder / file).read()
    at = table.schema.names.index(column)
    pq.write_table(table.set_column(at, column, pa.array(change(table[column].to_pylist()))), folder / file)
    refused(name, folder)


def test_an_item_named_twice_is_refused(folder_of):
    folder = folder_of("parquet")
    shutil.copy(folder / "ids-00000.parquet", folder / "ids-00001.parquet")
    assert "an item without a content_id, or twice the same" in refused("parquet", folder)


def test_item_numbers_with_a_gap_are_refused(folder_of):
    folder = folder_of("grid")
    table = pq.read_table(folder / "items.parquet")
    pq.write_table(table.slice(1), folder / "items.parquet")
    assert "its numbers are not 0, 1, 2, ..." in refused("grid", folder)


@pytest.mark.parametrize("sid", ["1,2", "1,2,3,4", "a,b,c", "", "1,2,-3", "1,2,99999999999"])
def test_csv_without_valid_codes_is_refused(sid, folder_of):
    folder = folder_of("forge")
    path = folder / "item_sid.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], f'"item 003","{sid}"', *lines[5:]]) + "\n")
    refused("forge", folder)


def test_csv_files_of_different_items_are_refused(folder_of):
    folder = folder_of("forge")
    path = folder / "item_words.csv"
    path.write_text(path.read_text().replace("item 003", "item three"))
    assert "are not of the same items in the same order" in refused("forge", folder)
