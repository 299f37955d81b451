"""A manifest in parts: a folder as Spark writes it, partitioned tables and patterns, always in one order."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput
from fuseid.pipelines.sources.id_list import IdList
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.sources.manifest import Manifest
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors


def part(path: Path, *ids: str, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"content_id": list(ids), "caption": [f"of {name}" for name in ids], **columns}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
    else:
        text = "content_id,caption\n" + "".join(f"{name},of {name}\n" for name in ids)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def ids(source: Any) -> list[str]:
    return [item.content_id for item in open_source(source)]


@pytest.fixture
def spark(tmp_path):
    """A folder as Spark writes it, of three parts."""
    folder = tmp_path / "items.parquet"
    for number, names in enumerate(("ab", "c", "de")):
        part(folder / f"part-{number:05}-4f0c.c000.snappy.parquet", *names)
        (folder / f".part-{number:05}-4f0c.c000.snappy.parquet.crc").write_bytes(b"crc")
    for name in ("_SUCCESS", "._SUCCESS.crc", "_metadata", "_common_metadata"):
        (folder / name).touch()
    return folder


def test_a_folder_of_parts_is_one_manifest(spark):
    source = open_source(spark)
    assert isinstance(source, Manifest)
    for _ in range(2):
        assert [item.content_id for item in source] == list("abcde")
    assert source.base == spark
    assert (source.passed_over.counts, source.incomplete, source.notes) == ({}, None, [])
    assert ids(f"{spark}/") == list("abcde")
    assert list(IdList(spark)) == list("abcde")
    assert ids(spark / "part-*.parquet") == list("abcde")
    assert ids(f"{spark}/part-0000{{2,0}}-*.parquet") == list("abde")  # always in the order of their names
    open_source(spark, SourceConfig(require_success=True))


def test_a_folder_that_a_job_still_writes_into_is_incomplete(spark):
    part(spark / "_temporary" / "0" / "part-00009.parquet", "z")
    source = open_source(spark)
    assert [item.content_id for item in source] == list("abcde")
    assert "holds a folder _temporary: a job writes into it, or has failed" in (source.incomplete or "")
    assert source.notes == [source.incomplete]


def test_an_id_in_two_parts_is_refused(spark, tmp_path):
    part(spark / "part-00003.parquet", "f", "a")
    with pytest.raises(BadInput, match="'a'"):
        Listing(open_source(spark), tmp_path)


def test_other_files_beside_parts_are_counted(spark):
    (spark / "README.md").touch()
    part(spark / "more" / "x.parquet", "z")
    source = open_source(spark)
    assert [item.content_id for item in source] == list("abcde")
    assert source.passed_over.counts == {".md": 1, "folders": 1}


def test_folders_of_a_partitioned_table_are_columns(tmp_path):
    root = tmp_path / "items"
    part(root / "dt=2024-05-01" / "kind=text" / "part-0.parquet", "a", attributes=['{"n": 1}'])
    part(root / "dt=2024-05-01" / "kind=image" / "part-0.parquet", "b", uri=["b.png"])
    part(root / "dt=__HIVE_DEFAULT_PARTITION__" / "kind=text" / "part-0.parquet", "c")
    part(root / "dt=12%3A00 %25" / "kind=text" / "part-0.parquet", "d", attributes=['{"dt": "its own"}'])
    (root / "_SUCCESS").touch()
    found = {item.content_id: item for item in open_source(root, SourceConfig(require_success=True))}
    assert {name: item.kind for name, item in found.items()} == {"a": "text", "b": "image", "c": "text", "d": "text"}
    assert {name: json.loads(item.attributes) for name, item in found.items()} == {
        "a": {"dt": "2024-05-01", "n": 1}, "b": {"dt": "2024-05-01"}, "c": {}, "d": {"dt": "its own"},
    }  # fmt: skip
    # What the user spells out is part of no item.
    (named,) = open_source(root / "dt=2024-05-01" / "kind=text")
    assert (named.kind, named.attributes) == (None, '{"n": 1}')
    matched = {item.content_id: item for item in open_source(f"{root}/dt=*-*/kind=text/*.parquet")}
    assert matched == {"a": found["a"]}
    part(root / "dt=12%3A00 %25" / "kind=text" / "part-1.parquet", "e")
    assert json.loads(list(open_source(f"{root}/dt=1*/"))[-1].attributes)["dt"] == "12:00 %"


def test_a_pattern_of_compressed_text_is_one_manifest(tmp_path):
    part(tmp_path / "b.csv.gz", "b")
    part(tmp_path / "a.csv", "a")
    part(tmp_path / "other.jsonl", "z")
    assert ids(f"{tmp_path}/[ab].csv*") == ["a", "b"]
    assert ids(f"{tmp_path}/{{a.csv,b.csv.gz}}") == ["a", "b"]
    with pytest.raises(BadInput, match=r"cannot read .*/c\.csv: .*No such file"):
        ids(f"{tmp_path}/{{a,c}}.csv")
    with pytest.raises(BadInput, match=r"names files of \.csv\.gz and \.jsonl; a manifest is .*, all of one kind"):
        ids(tmp_path)
    with pytest.raises(BadInput, match=r"no such files: .*none"):
        ids(f"{tmp_path}/none*.csv")


def test_each_part_is_read_with_its_own_columns_and_named_in_messages(tmp_path):
    (tmp_path / "a.csv").write_text("content_id,caption,colour\na,x,red\n")
    (tmp_path / "b.csv").write_text("uri,content_id\nb.png,b\n,\n")
    source = iter(open_source(f"{tmp_path}/*.csv"))
    assert [next(source).content_id, next(source).uri] == ["a", "b.png"]
    with pytest.raises(BadInput, match=r"b\.csv, row 2 \(line 3\): content_id is ''"):
        next(source)
    (tmp_path / "b.csv").write_text("id\nb\n")
    with pytest.raises(BadInput, match=r"b\.csv has no column content_id; it has id"):
        ids(f"{tmp_path}/*.csv")


def test_a_folder_of_media_with_tables_beside_them_stays_a_folder_of_media(spark):
    (spark / "a.png").touch()
    source = open_source(spark)
    assert [item.content_id for item in source] == ["a.png"]
    assert source.passed_over.counts[".parquet"] == 3


def test_vectors_may_lie_in_parts(tmp_path):
    for number, names in enumerate(("ab", "c")):
        folder = tmp_path / "v" / f"dt={number}"
        part(folder / "part-0.parquet", *names, vector=[[1.0, 2.0]] * len(names))
    (tmp_path / "v" / "_SUCCESS").touch()
    vectors = Vectors(tmp_path / "v", SourceConfig(require_success=True))
    assert [name for batch in vectors.ids() for name in batch.to_pylist()] == list("abc")
    assert "dt" in vectors.ignored
    (tmp_path / "v" / "_temporary").mkdir()
    assert "_temporary" in (Vectors(tmp_path / "v").incomplete or "")
