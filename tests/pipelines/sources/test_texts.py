"""Ids and texts are the same however the writer of an Arrow or Parquet file typed them."""

from __future__ import annotations

import decimal
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadField, BadInput
from fuseid.pipelines.sequences.interactions import Interactions
from fuseid.pipelines.sources.id_list import IdList
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.texts import Unreadable, id_texts, values_of
from fuseid.pipelines.sources.vectors import Vectors

U1, U2 = uuid.UUID(int=1 << 100), uuid.UUID(int=7)
BYTES = pa.array([U1.bytes, U2.bytes], pa.binary(16))
WORDS = ["äb", "c"]
IDS = {
    "string": (pa.array(WORDS), WORDS),
    "large_string": (pa.array(WORDS, pa.large_string()), WORDS),
    "string_view": (pa.array(WORDS, pa.string_view()), WORDS),
    "dictionary": (pa.array(WORDS).dictionary_encode(), WORDS),
    "binary": (pa.array([word.encode() for word in WORDS]), WORDS),
    "large_binary": (pa.array([word.encode() for word in WORDS], pa.large_binary()), WORDS),
    "binary_view": (pa.array([word.encode() for word in WORDS], pa.binary_view()), WORDS),
    "binary dictionary": (pa.array([word.encode() for word in WORDS]).dictionary_encode(), WORDS),
    "fixed_size_binary(3)": (pa.array([b"abc", b"def"], pa.binary(3)), ["abc", "def"]),
    "fixed_size_binary(16)": (BYTES, [str(U1), str(U2)]),
    "uuid": (pa.ExtensionArray.from_storage(pa.uuid(), BYTES), [str(U1), str(U2)]),
    "int64": (pa.array([7, 2**60]), ["7", str(2**60)]),
    "uint64": (pa.array([7, 2**64 - 1], pa.uint64()), ["7", str(2**64 - 1)]),
    "decimal": (pa.array([decimal.Decimal(7), decimal.Decimal(2**70)], pa.decimal128(38, 0)), ["7", str(2**70)]),
}


def write(path: Any, ids: pa.Array, **columns: Any) -> Any:
    pq.write_table(pa.table({"content_id": ids, **columns}), path)
    return path


@pytest.mark.parametrize("name", IDS)
def test_ids_of_every_type_are_the_same_text_in_every_kind_of_file(tmp_path, name):
    column, expected = IDS[name]
    assert [
        item.content_id for item in open_source(write(tmp_path / "m.parquet", column, caption=["x", "y"]))
    ] == expected
    assert list(IdList(tmp_path / "m.parquet")) == expected
    write(tmp_path / "v.parquet", column, vector=[[1.0, 2.0]] * 2)
    assert [text for ids in Vectors(tmp_path / "v.parquet").ids() for text in ids.to_pylist()] == expected
    write(tmp_path / "i.parquet", column, user_id=column, timestamp=[1714564800] * 2)
    (batch,) = Interactions.open(tmp_path / "i.parquet").batches()
    assert batch["content_id"].to_pylist() == batch["user_id"].to_pylist() == expected


@pytest.mark.parametrize("column", [pa.array([1.5, 2]), pa.array([True, False]), pa.array([["a"], ["b"]])], ids=str)
def test_ids_of_other_types_are_refused(tmp_path, column):
    with pytest.raises(BadInput, match=r"content_id (must hold text, whole numbers or UUIDs|is )"):
        list(open_source(write(tmp_path / "m.parquet", column, caption=["x", "y"])))
    with pytest.raises(BadInput, match=f"must hold text, whole numbers or UUIDs, got {column.type}"):
        id_texts(column, "it", 0)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.string()], ids=str)
def test_an_id_that_is_not_utf8_is_refused_with_its_row(tmp_path, kind):
    raw = pa.array([b"a", b"\xff\xfe"], pa.binary())
    column = raw.view(pa.string()) if kind == pa.string() else raw.cast(kind)
    with pytest.raises(BadInput, match=r"it, row 12: content_id is a value that is not UTF-8; every row"):
        id_texts(column, "it", 10)
    path = write(tmp_path / "m.parquet", column, caption=["x", "y"])
    with pytest.raises(BadInput, match=r"m.parquet, row 2: content_id is a value that is not UTF-8") as refused:
        list(open_source(path))
    assert "\n" not in str(refused.value)
    write(tmp_path / "i.parquet", column, user_id=["u", "v"], timestamp=[1714564800] * 2)
    with pytest.raises(
        BadInput, match=r"no content_id in 1 row, the first is row 2 of i.parquet \('a value that is not UTF-8'"
    ):
        list(Interactions.open(tmp_path / "i.parquet").batches())


def test_texts_without_the_mark_of_utf8_are_read_and_other_bytes_cost_their_row(tmp_path):
    columns = {
        "uri": pa.array([b"a.png", b"\xff.png", None, b""]),
        "caption": pa.array(["é".encode(), b"x", b"y", b"words"]),
        "kind": pa.array([b"image", None, None, None]).dictionary_encode(),
        "attributes": pa.array([b'{"n": 1}', None, b"\xff", None]),
    }
    one, two, three, four = open_source(write(tmp_path / "m.parquet", pa.array(list("abcd")), **columns))
    assert (one.uri, one.caption, one.kind, one.attributes) == ("a.png", "é", "image", '{"n": 1}')
    assert (four.uri, four.caption) == (None, "words")
    for item in (two, three):
        assert isinstance(item.problem, BadField)
        assert "not UTF-8" in str(item.problem)


def test_values_that_cannot_be_read_are_told_apart():
    values = values_of(pa.array([b"a", None, b"\xff"]))
    assert values[:2] == ["a", None]
    assert isinstance(values[2], Unreadable)
    assert values_of(pa.array([1, None])) == [1, None]
