"""Sources: the items of a manifest, a folder or a file of vectors, and one line for an invalid one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, BadSidecar
from fuseid.pipelines.sources.folder import Folder
from fuseid.pipelines.sources.item import SourceItem
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors


def wrote(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path, kind=open_source) -> str:
    with pytest.raises(BadInput) as caught:
        list(kind(path).ids() if kind is Vectors else kind(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


ROWS = [
    SourceItem("a", "a.png", "a caption", "image", '{"n": 1}'),
    SourceItem("b", None, "only words", None, "{}"),
    SourceItem("c", "c.mp4", None, None, "{}"),
]


def test_a_jsonl_manifest_is_read(tmp_path):
    text = (
        '\n{"content_id": "a", "uri": "a.png", "caption": "a caption", "kind": "image", "attributes": {"n": 1}}\n'
        '{"content_id": "b", "caption": "only words"}\n\n'
        '{"content_id": "c", "uri": "c.mp4", "caption": null, "kind": ""}'
    )
    assert list(open_source(wrote(tmp_path / "m.jsonl", text))) == ROWS


def test_a_csv_manifest_is_read(tmp_path):
    text = (
        "content_id,uri,caption,kind,attributes\r\n"
        'a,a.png,a caption,image,"{""n"": 1}"\r\n'
        "b,,only words,,\r\n"
        "c,c.mp4,,,\r\n"
    )
    assert list(open_source(wrote(tmp_path / "m.csv", text))) == ROWS


def test_a_parquet_manifest_is_read(tmp_path):
    table = pa.table(
        {
            "content_id": ["a", "b", "c"],
            "uri": ["a.png", None, "c.mp4"],
            "caption": ["a caption", "only words", ""],
            "kind": ["image", None, None],
            "attributes": ['{"n": 1}', None, ""],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    assert list(open_source(tmp_path / "m.parquet")) == ROWS


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, suffix):
    text = {"csv": "content_id,caption\na,é\n", "jsonl": '{"content_id": "a", "caption": "é"}\n'}[suffix]
    (listed,) = open_source(wrote(tmp_path / f"m.{suffix}", b"\xef\xbb\xbf" + text.encode()))
    assert (listed.content_id, listed.caption) == ("a", "é")


def test_csv_fields_may_hold_quotes_newlines_and_long_text(tmp_path):
    text = 'content_id,caption\n"a ""quoted"" id","two\nlines, and a comma"\nlong,' + "x" * 1_000_000 + "\n"
    first, second = open_source(wrote(tmp_path / "m.csv", text))
    assert (first.content_id, first.caption) == ('a "quoted" id', "two\nlines, and a comma")
    assert len(second.caption or "") == 1_000_000


def test_ids_that_are_whole_numbers_become_text(tmp_path):
    pq.write_table(pa.table({"content_id": [7, 2**60], "caption": ["x", "y"]}), tmp_path / "m.parquet")
    assert [listed.content_id for listed in open_source(tmp_path / "m.parquet")] == ["7", str(2**60)]
    (listed,) = open_source(wrote(tmp_path / "m.jsonl", '{"content_id": 7, "caption": "x"}'))
    assert listed.content_id == "7"


STRUCT = pa.array([{"colour": "red", "n": 1}], pa.struct([("colour", pa.string()), ("n", pa.int64())]))
MAP = pa.array([[("colour", "red"), ("n", "1")]], pa.map_(pa.string(), pa.string()))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(['{"n": 1, "colour": "red"}']), {"colour": "red", "n": 1}),
        (STRUCT, {"colour": "red", "n": 1}),
        (MAP, {"colour": "red", "n": "1"}),
        (pa.array([None], pa.string()), {}),
        (pa.array([{"n": float("nan")}]), {"n": None}),
    ],
    ids=["json", "struct", "map", "null", "nan"],
)
def test_attributes_of_a_parquet_file_are_read(tmp_path, column, expected):
    table = pa.table([pa.array(["a"]), pa.array(["x"]), column], names=["content_id", "caption", "attributes"])
    pq.write_table(table, tmp_path / "m.parquet")
    (listed,) = open_source(tmp_path / "m.parquet")
    assert json.loads(listed.attributes) == expected


def test_attributes_are_the_same_text_in_any_order(tmp_path):
    lines = '{"content_id": 1, "uri": "x", "attributes": {"b": 1, "a": 2}}\n' + (
        '{"content_id": 2, "uri": "x", "attributes": {"a": 2, "b": 1}}'
    )
    first, second = open_source(wrote(tmp_path / "m.jsonl", lines))
    assert first.attributes == second.attributes


def test_columns_that_are_not_read_are_named(tmp_path):
    source = open_source(wrote(tmp_path / "m.csv", "content_id,caption,captoin,price\na,b,c,d\n"))
    list(source)
    assert source.ignored == ("captoin", "price")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.jsonl", '{"id": "a", "uri": "x"}', "no column content_id; it has id, uri"),
        ("m.jsonl", '\n\n{"id": "a", "uri": "x"}', "no column content_id; it has id, uri"),
        ("m.jsonl", '{"content_id": "a"}', "no column uri or caption"),
        ("m.csv", "content_id,url\na,b\n", "no column uri or caption; it has content_id, url"),
        ("m.csv", "", "no column content_id; it has none"),
        ("m.jsonl", '{"content_id": "a", "uri": "x"}\n{"content_id": "b"', "line 2 is not JSON"),
        ("m.jsonl", '{"content_id": "a", "uri": "x"}\n["b"]', "line 2 must be a JSON object, got list"),
        ("m.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("m.jsonl", '{"content_id": "", "uri": "x"}', "row 1 (line 1): content_id is ''"),
        ("m.jsonl", '\n{"content_id": "a", "uri": "x"}\n{"uri": "x"}', "row 2 (line 3): content_id is None"),
        ("m.jsonl", '{"content_id": true, "uri": "x"}', "content_id is True"),
        ("m.jsonl", '{"content_id": 1.5, "uri": "x"}', "content_id is 1.5"),
        ("m.jsonl", '{"content_id": NaN, "uri": "x"}', "content_id is nan"),
        ("m.jsonl", '{"uri": "x", "content_id": ' + "[" * 5000 + "]" * 5000 + "}", "content_id is "),
        ("m.csv", "content_id,caption\na,b,c\n", "line 2 has more fields than the header: 3 of 2"),
        ("m.csv", "content_id,caption\n\na,b\nc\n", "line 4 has fewer fields than the header: 1 of 2"),
        ("m.csv", "content_id,caption\n\n,b\n", "row 1 (line 3): content_id is ''"),
        ("m.csv", b"content_id,caption\na,\xff\n", "line 2: the byte 0xFF is not UTF-8"),
        ("m.jsonl", b'{"content_id": "a", "caption": "\xff"}', "line 1: the byte 0xFF is not UTF-8"),
        ("m.parquet", "not parquet", "cannot read"),
        ("m.parquet", "", "cannot read"),
        ("m.txt", "x", ".parquet, .jsonl, .csv or .tsv"),
    ],
)
def test_an_invalid_manifest_is_refused_in_one_line(tmp_path, name, text, said):
    path = wrote(tmp_path / name, text)
    message = refusal(path)
    assert said in message
    assert str(path) in message


def test_parquet_without_required_columns_is_refused(tmp_path):
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "a.parquet")
    assert "no column content_id; it has id" in refusal(tmp_path / "a.parquet")


def test_a_missing_source_is_refused(tmp_path):
    assert "no such manifest or folder" in refusal(tmp_path / "nowhere.csv")


# Folders


def test_a_folder_lists_its_media_with_their_sidecars(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "a.png", "sub/c.mp4", "d.webp", "note.md", "sub/.hidden"):
        (tmp_path / name).touch()
    wrote(tmp_path / "a.txt", "words\nof a")
    wrote(tmp_path / "b.txt", "not these")
    wrote(tmp_path / "b.json", '\ufeff{"caption": "words of b", "attributes": {"n": 1}}')
    wrote(tmp_path / "sub/c.json", '{"attributes": {}}')
    wrote(tmp_path / "d.json", '{"caption": "moves", "kind": "video"}')
    assert list(open_source(tmp_path)) == [
        SourceItem("a.png", "a.png", "words\nof a", "image", "{}"),
        SourceItem("b.JPG", "b.JPG", "words of b", "image", '{"n": 1}'),
        SourceItem("d.webp", "d.webp", "moves", "video", "{}"),
        SourceItem("sub/c.mp4", "sub/c.mp4", None, "video", "{}"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", '{"caption": 5}'),
        ("a.json", '{"caption": "x", "attributes": 5}'),
        ("a.json", "[" * 100_000),
        ("a.txt", b"\xff\xfe"),
    ],
)
def test_a_sidecar_that_cannot_be_read_costs_its_medium_alone(tmp_path, name, text):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    wrote(tmp_path / name, text)
    bad, good = open_source(tmp_path)
    assert isinstance(bad.problem, BadSidecar)
    assert f"the sidecar {name} of a.png: " in str(bad.problem)
    assert good.problem is None


def test_a_sidecar_whose_folder_cannot_be_read_is_not_taken_for_missing(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    (tmp_path / "a.txt").symlink_to("a.txt")  # a link to itself: stat fails, and not because there is no such file
    (tmp_path / "b.txt").symlink_to("nowhere")
    a, b = open_source(tmp_path)
    assert isinstance(a.problem, BadSidecar)
    assert (b.problem, b.caption) == (None, None)


@pytest.mark.parametrize("name", ["a.json", "a.txt"])
def test_a_sidecar_that_leads_outside_is_not_read(tmp_path, name):
    (tmp_path / "secret").write_text('{"caption": "secret"}')
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "in" / name).symlink_to(tmp_path / "secret")
    (item,) = open_source(tmp_path / "in")
    assert item.caption is None
    assert "outside" in str(item.problem)


def test_a_folder_does_not_follow_a_link_to_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    assert list(Folder(tmp_path / "in")) == []


def test_file_names_that_are_not_utf8_are_listed_apart(tmp_path):
    for name in (b"caf\xe9.png", b"caf\xe8.png"):
        open(os.path.join(os.fsencode(tmp_path), name), "wb").close()
    names = [listed.content_id for listed in Folder(tmp_path)]
    assert len({name.encode("utf-8") for name in names}) == 2


# Ready-made vectors


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for part in Vectors(path).parts for batch in part.batches() for row in batch.to_pylist()]


def test_a_parquet_file_of_vectors_may_have_manifest_columns(tmp_path):
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float16())):
        vectors = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())).cast(kind)
        pq.write_table(
            pa.table({"content_id": ["a", "b"], "vector": vectors, "caption": ["x", None]}), tmp_path / "v.parquet"
        )
        first, second = rows_of(tmp_path / "v.parquet")
        assert (first["content_id"], first["caption"], second["content_id"]) == ("a", "x", "b")
        assert first["vector"] == [1.0, 2.0]


def test_an_npy_file_of_vectors_is_read(tmp_path):
    np.save(tmp_path / "v.npy", np.array([[1, 2], [3, 4]], np.float64))
    wrote(tmp_path / "v.ids.txt", "a\r\nit's b\n")
    first, second = rows_of(tmp_path / "v.npy")
    assert (first["content_id"], second["content_id"]) == ("a", "it's b")
    assert second["vector"] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("array", "ids", "said"),
    [
        (np.zeros((2, 3)), "a\n", "fewer ids than the 2 rows"),
        (np.zeros((2, 3)), "a\n\nb\n", "line 2 is empty"),
        (np.zeros((2, 3)), "a\nb\nc\n", "more ids than the 2 rows"),
        (np.zeros((2, 3)), None, "v.ids.txt beside it"),
        (np.zeros(3), "a\nb\nc\n", "floats [N, D]"),
        (np.zeros((2, 3), np.int32), "a\nb\n", "got int32 [2, 3]"),
        (np.array([[{}]], object), "a\n", "cannot read vectors"),
        (b"", "a\n", "cannot read vectors"),
        (b"\x93NUMPY\x01", "a\n", "cannot read vectors"),
    ],
)
def test_an_invalid_npy_file_is_refused_in_one_line(tmp_path, array, ids, said):
    path = tmp_path / "v.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    else:
        np.save(path, array, allow_pickle=True)
    if ids is not None:
        wrote(tmp_path / "v.ids.txt", ids)
    assert said in refusal(path, Vectors)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"content_id": ["a"]}, "no column vector"),
        ({"vector": [[1.0]]}, "no column content_id"),
        ({"content_id": ["a"], "vector": [1.0]}, "lists of floats, got double"),
        ({"content_id": ["a"], "vector": [["x"]]}, "lists of floats"),
        ({"content_id": ["a"], "vector": ["[1, 2]"]}, "lists of floats"),
        ({"content_id": ["a", None], "vector": [[1.0], [2.0]]}, "row 2: content_id is None"),
    ],
)
def test_an_invalid_parquet_file_of_vectors_is_refused_in_one_line(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    assert said in refusal(tmp_path / "v.parquet", Vectors)


def test_missing_vectors_and_unknown_formats_are_refused(tmp_path):
    assert "no such files" in refusal(tmp_path / "v.npy", Vectors)
    assert ".parquet or .npy" in refusal(wrote(tmp_path / "v.csv", "x"), Vectors)


# Distinct ids


def test_distinct_items_are_counted_and_known_again(tmp_path):
    lines = "".join(f'{{"content_id": {i}, "caption": "x"}}\n' for i in range(1000))
    (tmp_path / "scratch").mkdir()
    listing = Listing(open_source(wrote(tmp_path / "m.jsonl", lines)), tmp_path / "scratch", 1000)
    assert listing.keys.count == 1000
    asked = [str(i) for i in range(-5, 1005)] + ["", "é\n"]
    assert sorted(listing.keys.missing(asked)) == sorted([*asked[:5], *asked[-7:]])


def test_keys_of_few_items_have_empty_partitions(tmp_path):
    manifest = wrote(tmp_path / "m.jsonl", '{"content_id": "a", "caption": "x"}')
    asked = [str(i) for i in range(200)]
    assert sorted(Listing(open_source(manifest), tmp_path).keys.missing([*asked, "a"])) == sorted(asked)


def test_a_listing_stays_what_it_was_while_its_source_changes(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").touch()
    wrote(tmp_path / "in" / "1.json", '{"caption": "l\\u00edne\\n", "attributes": {"n": 1}}')
    wrote(tmp_path / "in" / "2.json", "{")
    source = Folder(tmp_path / "in")
    before = list(source)
    (tmp_path / "scratch").mkdir()
    listing = Listing(source, tmp_path / "scratch")
    (tmp_path / "in" / "1.json").unlink()
    (tmp_path / "in" / "0.png").unlink()
    for _ in range(2):
        *items, broken = listing
        assert items == before[:2]
        assert (type(broken.problem), str(broken.problem)) == (BadSidecar, str(before[2].problem))


@pytest.mark.parametrize("again", ["0", "999"])
def test_an_id_listed_twice_is_named(tmp_path, again):
    lines = "".join(f'{{"content_id": "{i}", "caption": "x"}}\n' for i in [*range(1000), again])
    rows = (
        rf"'{again}' in row {int(again) + 1} \(line {int(again) + 1}\) and row 1001 \(line 1001\); ids must be unique"
    )
    with pytest.raises(BadInput, match=f"1 content_id occurs more than once in .*m.jsonl: {rows}"):
        Listing(open_source(wrote(tmp_path / "m.jsonl", lines)), tmp_path)


def test_of_many_ids_listed_twice_the_first_five_are_named(tmp_path):
    lines = "content_id,caption\n" + "".join(f"{i},x\n" for i in [*range(9000), *range(7000, 9000), 7003, 7003, 7003])
    with pytest.raises(BadInput) as caught:
        Listing(open_source(wrote(tmp_path / "m.csv", lines)), tmp_path)
    said = str(caught.value)
    assert "2000 content_ids occur more than once in " in said
    assert "m.csv, the first 5: '7000' in row 7001 (line 7002) and row 9001 (line 9002); '7001' in " in said
    assert "'7003' in row 7004 (line 7005) and row 9004 (line 9005) and row 11001 (line 11002); '7004' in " in said
    assert "'7005'" not in said
    assert "\n" not in said


@pytest.mark.parametrize(("name", "text"), [("m.jsonl", ""), ("m.jsonl", "\n \n"), ("m.csv", "content_id,uri\n")])
def test_a_manifest_without_items_is_refused(tmp_path, name, text):
    path = wrote(tmp_path / name, text)
    with pytest.raises(BadInput, match="lists no items"):
        Listing(open_source(path), tmp_path)


def test_a_folder_without_media_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BadInput, match="lists no items"):
        Listing(open_source(tmp_path / "in"), tmp_path)
