"""Formats: written files are read back, have the same bytes each time, and keep collisions as documented."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.columns import ExportInfo
from fuseid.pipelines.exports.folder import file_hash
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
from fuseid.pipelines.exports.registry import FORMATS

from .format_items import catalogues, export, ids_of, info_of, item, many, table_of
from .read_formats import read

quick = settings(max_examples=15, deadline=None, derandomize=True)
LEVELS = {"openonerec": 3}


@pytest.fixture(scope="module")
def large() -> pa.Table:
    """More than a chunk."""
    return many(70_000)


def files_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_hash(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMATS)
@quick
@given(data=st.data())
def test_what_a_format_writes_it_reads_back(name, data):
    table, sizes = data.draw(catalogues(LEVELS.get(name)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = export(FORMATS[name], table, Path(scratch) / "out", sizes)
        assert read(name, folder).equals(ids_of(table))


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_depend_neither_on_the_folder_nor_on_the_batches(name, large, tmp_path):
    whole = export(FORMATS[name], large, tmp_path / "whole")
    parts = export(FORMATS[name], large, tmp_path / "deeper" / "parts", batch_rows=997)
    assert files_of(whole) == files_of(parts)
    assert read(name, whole).equals(ids_of(large))


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if not form.SORTED])
def test_formats_that_sort_themselves_take_items_in_any_order(name, large, tmp_path):
    """Also items that share an ID and are ordered by their content_ids alone."""
    for number, table in enumerate((large, BUCKET)):
        rows = np.random.default_rng(number).permutation(len(table))
        shuffled = export(FORMATS[name], table.take(rows), tmp_path / f"shuffled-{number}")
        assert files_of(shuffled) == files_of(export(FORMATS[name], table, tmp_path / f"sorted-{number}"))


@pytest.mark.parametrize("name", FORMATS)
def test_items_that_were_not_announced_are_a_broken_invariant(name, tmp_path):
    table = table_of([item("a", [1, 2, 3]), item("b", [1, 2, 3], 1)])
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="3 items were announced, 2 came"):
        FORMATS[name].write(iter(table.to_batches()), tmp_path / "out", ExportInfo((256,) * 3, 3, 1, "rq-kmeans-0"))


def test_codes_beyond_their_codebook_are_a_broken_invariant(tmp_path):
    table = table_of([item("a", [1, 2, 3])])
    with pytest.raises(ValueError, match=re.escape("codes up to [1, 2, 3] do not fit codebooks of [4, 2, 4]")):
        export(grid, table, tmp_path / "out", (4, 2, 4))


# Collisions: three items of one code tuple, the middle digit deleted, and two that share an ID.

BUCKET = table_of(
    [
        item("a", [5, 6, 7]),
        item("b", [5, 6, 7], 2),
        item("c", [5, 6, 8], 1),
        item("d", [5, 6, 8], 1),
        item("e", [5, 6, 7], 1),
    ]
)


def test_parquet_files_have_at_most_rows_per_file_each(tmp_path):
    table = many(41)
    parquet.write(iter(table.to_batches()), tmp_path, info_of(table), rows_per_file=20)
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [20, 20, 1]
    assert read("parquet", tmp_path).equals(ids_of(many(41)))


def test_grid_holds_the_suffix_in_the_last_row(tmp_path):
    folder = export(grid, BUCKET, tmp_path / "out")
    with (folder / grid.FILE).open("rb") as file:
        id_map = torch.load(file)
    assert id_map.dtype is torch.int64
    assert id_map.tolist() == [[5] * 5, [6] * 5, [7, 7, 8, 8, 7], [0, 2, 1, 1, 1]]
    # As GRID looks a history of items up.
    assert id_map.t()[torch.tensor([4, 0])].view(-1).tolist() == [5, 6, 7, 1, 5, 6, 7, 0]
    assert pq.read_table(folder / "items.parquet").to_pylist()[4] == {"number": 4, "content_id": "e"}


def test_minionerec_holds_the_suffix_in_one_more_token(tmp_path):
    folder = export(minionerec, BUCKET, tmp_path / "out")
    index = json.loads((folder / minionerec.INDEX).read_text())
    assert index["0"] == ["<a_5>", "<b_6>", "<c_7>"]
    assert index["1"] == ["<a_5>", "<b_6>", "<c_7>", "<d_2>"]
    assert index["2"] == index["3"]


def test_openonerec_gives_items_of_equal_codes_one_text(tmp_path):
    folder = export(openonerec, BUCKET, tmp_path / "out")
    rows = pq.read_table(folder / openonerec.SIDS).to_pylist()
    assert [row["pid"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["text"][-9:] for row in rows] == [f"{c}><|sid_end|>"[-9:] for c in (7, 7, 8, 8, 7)]
    assert [row["suffix"] for row in rows] == [None, 2, 1, 1, 1]


def test_forge_gives_items_of_equal_codes_one_row_each(tmp_path):
    folder = export(forge, BUCKET, tmp_path / "out")
    lines = (folder / forge.SIDS).read_text().splitlines()
    assert lines == [
        '"item_id","SID"',
        *(f'"{name}","5,6,{c}"' for name, c in zip("abcde", (7, 7, 8, 8, 7), strict=True)),
    ]


def test_torcheasyrec_counts_places_without_gaps(tmp_path):
    folder = export(torcheasyrec, BUCKET, tmp_path / "out")
    groups = pq.read_table(folder / "v1" / "sid_to_items").to_pylist()
    assert [(row["codebook"], row["itemids"]) for row in groups] == [
        ([5, 6, 7], ["a", "e", "b"]),
        ([5, 6, 8], ["c", "d"]),
    ]
    places = {row["item_id"]: row for row in pq.read_table(folder / "v1" / "item_to_sid").to_pylist()}
    for row in groups:
        assert [places[name]["index"] for name in row["itemids"]] == list(range(1, len(row["itemids"]) + 1))
    assert {name: row["suffix"] for name, row in places.items()} == {"a": None, "b": 2, "c": 1, "d": 1, "e": 1}


def test_static_is_sorted_with_and_without_the_digit(tmp_path):
    folder = export(static, many(5000), tmp_path / "out")
    sids, digits = (np.load(folder / name) for name in (static.SIDS, static.DIGITS))
    assert (sids.dtype, sids.shape) == (np.int32, (5000, 3))
    assert (digits[:, :-1] == sids).all()
    assert sids.tolist() == sorted(sids.tolist())
    assert digits.tolist() == sorted(digits.tolist())
    assert len(np.unique(digits, axis=0)) == 5000


def test_cornac_holds_the_suffix_as_one_more_code(tmp_path):
    folder = export(cornac, BUCKET, tmp_path / "out")
    rows = json.loads((folder / cornac.FILE).read_text())
    assert rows == {"0": [5, 6, 7, 0], "1": [5, 6, 7, 2], "2": [5, 6, 8, 1], "3": [5, 6, 8, 1], "4": [5, 6, 7, 1]}


def test_rectools_gives_items_of_equal_codes_equal_features(tmp_path):
    rows = pq.read_table(export(rectools, BUCKET, tmp_path / "out") / rectools.FILE)
    assert rows["value"].to_pylist() == [5, 6, 7, 5, 6, 7, 5, 6, 8, 5, 6, 8, 5, 6, 7]
    assert rows["suffix"].to_pylist()[::3] == [None, 2, 1, 1, 1]


def test_sidinspector_counts_items_of_equal_codes_as_aliases(tmp_path):
    rows = pq.read_table(export(sidinspector, BUCKET, tmp_path / "out") / sidinspector.SIDS)
    assert rows["sid"].to_pylist() == ["5-6-7", "5-6-7", "5-6-8", "5-6-8", "5-6-7"]
    assert rows["suffix"].to_pylist() == [None, 2, 1, 1, 1]


@quick
@given(catalogues(3), catalogues(3))
def test_a_delta_of_torcheasyrec_holds_what_changed_and_whole_ids(before, after):
    old, new = ({row["content_id"]: row for row in table.to_pylist()} for table, _ in (before, after))
    rows, touched = [], set()
    for name in sorted(old.keys() | new.keys(), key=str.encode):
        was, now = (side.get(name, {"codes": None, "suffix": None}) for side in (old, new))
        if (was["codes"], was["suffix"]) != (now["codes"], now["suffix"]):
            rows.append({"content_id": name, "old_codes": was["codes"], "new_codes": now["codes"]})
            touched |= {tuple(codes) for codes in (was["codes"], now["codes"]) if codes is not None}
    lists = pa.list_(pa.int32())
    schema = pa.schema([("content_id", pa.string()), ("old_codes", lists), ("new_codes", lists)])
    changes = pa.Table.from_pylist(rows, schema=schema).to_batches(3)
    sizes = (256, 256, 256)
    with tempfile.TemporaryDirectory() as scratch:
        folder = export(torcheasyrec, after[0], Path(scratch) / "out", sizes)
        whole = files_of(folder)
        torcheasyrec.write_delta(iter(changes), folder, info_of(after[0], sizes))
        assert {name: data for name, data in files_of(folder).items() if name in whole and name.endswith("t")} == {
            name: data for name, data in whole.items() if name.endswith("t")
        }
        groups = pq.read_table(folder / "v1" / "sid_to_items").to_pylist()
        delta = pq.read_table(folder / "v1" / "delta_sid_to_items").to_pylist()
        held = {tuple(row["codebook"]): row["itemids"] for row in groups}
        assert [(tuple(row["codebook"]), row["itemids"]) for row in delta] == [
            (codes, held.get(codes, [])) for codes in sorted(touched)
        ]
        given_now = pq.read_table(folder / "v1" / "delta_item_to_sid")["item_id"].to_pylist()
        assert sorted(given_now) == sorted(row["content_id"] for row in rows if row["new_codes"] is not None)
        artifacts = json.loads((folder / "v1" / "manifest.json").read_text())["artifacts"]
        assert artifacts["delta_sid_to_items"] == {
            "save_type": "parquet",
            "rows": len(touched),
            "location": "v1/delta_sid_to_items",
        }


# Texts

LINE_ENDS = "[\x00-\x1f\x7f\x85\u2028\u2029]+"


def one_line(text: str) -> str:
    return re.sub(LINE_ENDS, " ", text).strip()


@quick
@given(catalogues())
def test_every_title_is_one_line_of_three_columns(drawn):
    table, sizes = drawn
    with tempfile.TemporaryDirectory() as scratch:
        folder = export(minionerec, table, Path(scratch) / "out", sizes)
        assert (folder / minionerec.ITEM).read_bytes().isascii()
        items = json.loads((folder / minionerec.ITEM).read_text())
        lines = (folder / minionerec.INFO).read_text(encoding="utf-8").splitlines()
        index = json.loads((folder / minionerec.INDEX).read_text())
    assert [line.split("\t") for line in lines] == [
        ["".join(index[number]), items[number]["title"], number] for number in index
    ]
    for row, written in zip(table.to_pylist(), items.values(), strict=True):
        known = json.loads(row["attributes"] or "{}")
        captions = [row["caption"] or "", row["vlm_caption"] or ""]
        titles = [known.get("title"), *captions, row["content_id"]]
        clean = [one_line(text) for text in titles if isinstance(text, str)]
        assert written["title"] == next(filter(None, clean), "")
        described = [known.get("description"), *captions]
        assert written["description"] == next(
            filter(None, (text.strip() for text in described if isinstance(text, str))), ""
        )


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path):
    folder = export(minionerec, table_of([item("a", [1, 2, 3], attributes=r'{"title": "\ud800 x"}')]), tmp_path / "out")
    assert json.loads((folder / minionerec.ITEM).read_text())["0"]["title"] == "? x"


@quick
@given(catalogues())
def test_sidinspector_has_metadata_of_every_item_and_categories_if_there_are_any(drawn):
    table, sizes = drawn
    with tempfile.TemporaryDirectory() as scratch:
        folder = export(sidinspector, table, Path(scratch) / "out", sizes)
        written = pq.read_table(folder / sidinspector.METADATA).to_pydict()
    known = [json.loads(text or "{}").get("category") for text in table["attributes"].to_pylist()]
    categories = [text.strip() if isinstance(text, str) else "" for text in known]
    assert written["item_id"] == list(range(len(table)))
    assert None not in written["title"] + written["text"]
    assert written.get("category", [""] * len(table)) == categories
    assert ("category" in written) == any(categories)


@quick
@given(catalogues(3))
def test_openonerec_has_only_captions_that_are_not_blank(drawn):
    table, sizes = drawn
    with tempfile.TemporaryDirectory() as scratch:
        folder = export(openonerec, table, Path(scratch) / "out", sizes)
        written = pq.read_table(folder / openonerec.CAPTIONS).to_pylist()
    captions = [
        next((text for text in (row["vlm_caption"], row["caption"]) if text and text.strip()), None)
        for row in table.to_pylist()
    ]
    assert written == [{"pid": pid, "dense_caption": text} for pid, text in enumerate(captions) if text is not None]


# What a format cannot hold


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("openonerec", (256, 256), "openonerec holds 3 levels of 8192 codes at most"),
        ("openonerec", (256, 256, 256, 256), r"codebooks of \[256, 256, 256, 256\]; fit one that fits"),
        ("openonerec", (8193, 8, 8), "openonerec holds 3 levels of 8192 codes at most"),
        ("forge", (8193, 8, 8), "forge has words for 8 levels of 8192 codes"),
        ("forge", (2,) * 9, "forge has words for 8 levels of 8192 codes"),
        ("minionerec", (2,) * 26, "minionerec names levels by letters and has 25 at most, this tokenizer has 26"),
    ],
)
def test_codes_that_a_trainer_would_cut_off_are_refused(name, sizes, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        export(FORMATS[name], table_of([item("a", [0] * len(sizes))]), tmp_path / "out", sizes)
