"""Golden files of the formats: written files equal those made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fuseid.pipelines.exports.formats import (
    cornac,
    forge,
    grid,
    minionerec,
    openonerec,
    parquet,
    rectools,
    sidinspector,
    static,
    torcheasyrec,
)

from .format_items import export, item, table_of

DATA = Path(__file__).parents[3] / "data" / "exports"
NAMES = ["clip,1", "clip-2", 'im"3', "item four", "z9"]
CODES = [[12, 240, 7], [12, 240, 7], [0, 0, 255], [12, 3, 0], [12, 240, 7]]
TABLE = table_of(
    [
        item("clip,1", [12, 240, 7], caption='A "red" boat\ton the sea\nat dawn'),
        item(
            "clip-2",
            [12, 240, 7],
            1,
            caption="",
            vlm_caption="二 boats",
            attributes='{"title": " Two boats ", "description": "Harbour\\nview", "brand": "x"}',
        ),
        item('im"3', [0, 0, 255]),
        item("item four", [12, 3, 0], caption="Vier étages\u2028二", attributes='{"title": 4, "category": "maps"}'),
        item("z9", [12, 240, 7], 3, caption="  ", vlm_caption="A late boat", attributes="[1]"),
    ]
)


def assert_maps_numbers(folder: Path) -> None:
    rows = pq.read_table(folder / "items.parquet").to_pylist()
    assert rows == [{"number": number, "content_id": name} for number, name in enumerate(NAMES)]


@pytest.mark.parametrize("form", [minionerec, forge, cornac], ids=lambda form: form.NAME)
def test_written_texts_equal_the_golden_files(form, tmp_path):
    folder = export(form, TABLE, tmp_path / "out")
    texts = sorted(path for path in folder.iterdir() if path.suffix != ".parquet")
    assert [path.name for path in texts] == sorted(path.name for path in (DATA / form.NAME).iterdir())
    for path in texts:
        assert path.read_text(encoding="utf-8") == (DATA / form.NAME / path.name).read_text(encoding="utf-8")


def test_the_golden_csv_is_read_by_the_csv_module():
    with (DATA / "forge" / "item_sid.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["item_id", "SID"], *([n, ",".join(map(str, c))] for n, c in zip(NAMES, CODES, strict=True))]


def test_parquet_files_equal_the_golden_rows(tmp_path):
    folder = export(parquet, TABLE, tmp_path / "out")
    rows = pq.read_table(folder / "ids-00000.parquet").to_pylist()
    assert rows == [
        {"content_id": "clip,1", "kind": "image", "sid": "12-240-7", "codes": [12, 240, 7], "suffix": None},
        {"content_id": "clip-2", "kind": "image", "sid": "12-240-7.1", "codes": [12, 240, 7], "suffix": 1},
        {"content_id": 'im"3', "kind": "image", "sid": "0-0-255", "codes": [0, 0, 255], "suffix": None},
        {"content_id": "item four", "kind": "image", "sid": "12-3-0", "codes": [12, 3, 0], "suffix": None},
        {"content_id": "z9", "kind": "image", "sid": "12-240-7.3", "codes": [12, 240, 7], "suffix": 3},
    ]


def test_grid_files_equal_the_golden_tensor(tmp_path):
    wanted = torch.tensor([[12, 12, 0, 12, 12], [240, 240, 0, 3, 240], [7, 7, 255, 0, 7], [0, 1, 0, 0, 3]])
    folder = export(grid, TABLE, tmp_path / "out")
    assert torch.equal(torch.load(folder / "semantic_ids.pt", weights_only=True), wanted)
    assert_maps_numbers(folder)


def test_openonerec_files_equal_the_golden_rows(tmp_path):
    folder = export(openonerec, TABLE, tmp_path / "out")
    shared = "<|sid_begin|><s_a_12><s_b_240><s_c_7><|sid_end|>"
    sids = pq.read_table(folder / "pid2sid.parquet")
    assert sids.schema.types == [pa.int64(), pa.list_(pa.int32()), pa.int32(), pa.string()]
    assert sids.to_pylist() == [
        {"pid": 0, "sid": [12, 240, 7], "suffix": None, "text": shared},
        {"pid": 1, "sid": [12, 240, 7], "suffix": 1, "text": shared},
        {"pid": 2, "sid": [0, 0, 255], "suffix": None, "text": "<|sid_begin|><s_a_0><s_b_0><s_c_255><|sid_end|>"},
        {"pid": 3, "sid": [12, 3, 0], "suffix": None, "text": "<|sid_begin|><s_a_12><s_b_3><s_c_0><|sid_end|>"},
        {"pid": 4, "sid": [12, 240, 7], "suffix": 3, "text": shared},
    ]
    assert pq.read_table(folder / "pid2caption.parquet").to_pylist() == [
        {"pid": 0, "dense_caption": 'A "red" boat\ton the sea\nat dawn'},
        {"pid": 1, "dense_caption": "二 boats"},
        {"pid": 3, "dense_caption": "Vier étages\u2028二"},
        {"pid": 4, "dense_caption": "A late boat"},
    ]
    assert_maps_numbers(folder)


def test_torcheasyrec_files_equal_the_golden_rows(tmp_path):
    folder = export(torcheasyrec, TABLE, tmp_path / "out")
    items = pq.read_table(folder / "v1" / "item_to_sid" / "part-0.parquet")
    lists = pa.list_(pa.int64())
    assert items.schema.types == [pa.string(), lists, lists, lists, pa.int64(), pa.int32()]
    first = {"origin_codebook": [0, 0, 255], "codebook": [0, 0, 255], "offset_codebook": [0, 256, 767]}
    second = {"origin_codebook": [12, 3, 0], "codebook": [12, 3, 0], "offset_codebook": [12, 259, 512]}
    third = {"origin_codebook": [12, 240, 7], "codebook": [12, 240, 7], "offset_codebook": [12, 496, 519]}
    assert items.to_pylist() == [
        {"item_id": 'im"3', **first, "index": 1, "suffix": None},
        {"item_id": "item four", **second, "index": 1, "suffix": None},
        {"item_id": "clip,1", **third, "index": 1, "suffix": None},
        {"item_id": "clip-2", **third, "index": 2, "suffix": 1},
        {"item_id": "z9", **third, "index": 3, "suffix": 3},
    ]
    assert pq.read_table(folder / "v1" / "sid_to_items" / "part-0.parquet").to_pylist() == [
        {"codebook": [0, 0, 255], "offset_codebook": [0, 256, 767], "itemids": ['im"3']},
        {"codebook": [12, 3, 0], "offset_codebook": [12, 259, 512], "itemids": ["item four"]},
        {"codebook": [12, 240, 7], "offset_codebook": [12, 496, 519], "itemids": ["clip,1", "clip-2", "z9"]},
    ]
    manifest = json.loads((folder / "v1" / "manifest.json").read_text())
    assert len(manifest.pop("bundle_uuid")) == 32
    assert manifest == {
        "codebook": [256, 256, 256],
        "capacity": 3,
        "max_observed_items_per_sid": 3,
        "artifacts": {
            "item_to_sid": {"save_type": "parquet", "rows": 5, "location": "v1/item_to_sid"},
            "sid_to_items": {"save_type": "parquet", "rows": 3, "location": "v1/sid_to_items"},
        },
        "item_id_type": "string",
    }


def test_static_files_equal_the_golden_arrays(tmp_path):
    folder = export(static, TABLE, tmp_path / "out")
    rows = [[0, 0, 255], [12, 3, 0], [12, 240, 7], [12, 240, 7], [12, 240, 7]]
    digits = [0, 0, 0, 1, 3]
    order = ['im"3', "item four", "clip,1", "clip-2", "z9"]
    assert np.load(folder / "sids.npy").tolist() == rows
    assert np.load(folder / "sids_digit.npy").tolist() == [
        [*row, digit] for row, digit in zip(rows, digits, strict=True)
    ]
    assert pq.read_table(folder / "items.parquet")["content_id"].to_pylist() == order


def test_cornac_numbers_are_mapped(tmp_path):
    assert_maps_numbers(export(cornac, TABLE, tmp_path / "out"))


def test_rectools_files_equal_the_golden_rows(tmp_path):
    folder = export(rectools, TABLE, tmp_path / "out")
    features = pq.read_table(folder / "item_features.parquet")
    assert features.schema.types == [pa.string(), pa.string(), pa.int32(), pa.int32()]
    assert features.to_pylist() == [
        {"id": name, "feature": f"code_{level}", "value": code, "suffix": suffix}
        for name, codes, suffix in zip(NAMES, CODES, [None, 1, None, None, 3], strict=True)
        for level, code in enumerate(codes, start=1)
    ]


def test_sidinspector_files_equal_the_golden_rows(tmp_path):
    folder = export(sidinspector, TABLE, tmp_path / "out")
    shared = {"sid_level_0": 12, "sid_level_1": 240, "sid_level_2": 7, "sid": "12-240-7"}
    third = {"sid_level_0": 0, "sid_level_1": 0, "sid_level_2": 255, "sid": "0-0-255"}
    fourth = {"sid_level_0": 12, "sid_level_1": 3, "sid_level_2": 0, "sid": "12-3-0"}
    constants = {"method": "rq-kmeans-0123456789abcdef", "dataset": "catalogue"}
    assert pq.read_table(folder / "sid_assignments.parquet").to_pylist() == [
        {"item_id": 0, **shared, **constants, "suffix": None},
        {"item_id": 1, **shared, **constants, "suffix": 1},
        {"item_id": 2, **third, **constants, "suffix": None},
        {"item_id": 3, **fourth, **constants, "suffix": None},
        {"item_id": 4, **shared, **constants, "suffix": 3},
    ]
    red, four = 'A "red" boat\ton the sea\nat dawn', "Vier étages\u2028二"
    assert pq.read_table(folder / "item_metadata.parquet").to_pylist() == [
        {"item_id": 0, "title": 'A "red" boat on the sea at dawn', "text": red, "category": ""},
        {"item_id": 1, "title": "Two boats", "text": "Harbour\nview", "category": ""},
        {"item_id": 2, "title": 'im"3', "text": "", "category": ""},
        {"item_id": 3, "title": "Vier étages 二", "text": four, "category": "maps"},
        {"item_id": 4, "title": "A late boat", "text": "A late boat", "category": ""},
    ]
    assert_maps_numbers(folder)
