"""Parts of files of vectors: each row is read once, and files that change or harm end with one line."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import zipfile

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources import vectors as module
from fuseid.pipelines.sources.vectors import Vectors


def table(rows, dim=3, kind=None, **columns):
    """Vectors whose first number is the number of the row."""
    values = np.ones((rows, dim), np.float32)
    values[:, 0] = np.arange(rows)
    array = pa.array(values.tolist(), pa.list_(pa.float32())) if kind is None else pa.array(values.tolist(), kind)
    return pa.table({"content_id": [f"v{i}" for i in range(rows)], "vector": array, **columns})


def wrote(path, rows=10, **more):
    pq.write_table(table(rows), path, **more)
    return path


def npy(path, rows=10, dim=3):
    np.save(path, np.array(table(rows, dim)["vector"].to_pylist(), np.float32))
    path.with_suffix(".ids.txt").write_text("".join(f"v{i}\n" for i in range(rows)))
    return path


def everything(source):
    """(ids as the first reading lists them, rows as the second one does)."""
    ids = [each for part in source.ids() for each in part.to_pylist()]
    return ids, [row for part in source.parts for batch in part.batches() for row in batch.to_pylist()]


def refusal(read, kind=BadInput):
    with pytest.raises(kind) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [None, pa.list_(pa.float32(), 300), pa.large_list(pa.float16())], ids=str)
@pytest.mark.parametrize("group", [1, 7, 999, 10_000])
def test_row_groups_of_any_size_are_read_in_order_and_in_bounded_batches(tmp_path, monkeypatch, group, kind):
    rows = 1200
    monkeypatch.setattr("fuseid.pipelines.sources.vector_parts._BYTES", 4 * 300 * 100)  # a hundred vectors
    monkeypatch.setattr(module, "_PART_ROWS", 500)
    pq.write_table(table(rows, 300, kind), tmp_path / "v.parquet", row_group_size=group)
    source = Vectors(tmp_path / "v.parquet")
    assert (source.dim, len(source.parts)) == (300, {1: 3, 7: 3, 999: 2, 10_000: 1}[group])
    ids, read = everything(source)
    assert ids == [row["content_id"] for row in read] == [f"v{i}" for i in range(rows)]
    assert [row["vector"][0] for row in read] == list(range(rows))
    assert max(batch.num_rows for part in source.parts for batch in part.batches()) <= 100
    assert [part.first for part in source.parts] == [*np.cumsum([0, *(part.rows for part in source.parts)])[:-1]]


def test_an_array_is_read_in_bounded_batches_with_its_ids(tmp_path, monkeypatch):
    monkeypatch.setattr("fuseid.pipelines.sources.vector_parts._BYTES", 4 * 3 * 7)
    ids, read = everything(Vectors(npy(tmp_path / "v.npy", 50)))
    assert ids == [row["content_id"] for row in read] == [f"v{i}" for i in range(50)]
    assert [row["vector"][0] for row in read] == list(range(50))


@pytest.mark.parametrize("kind", ["parquet", "npy", "ids"])
def test_a_file_that_is_written_to_between_the_two_readings_is_refused(bare, kind):
    path = wrote(bare.media / "v.parquet") if kind == "parquet" else npy(bare.media / "v.npy")
    bare.ingest_vectors(path, name="audio")
    before = bare.rows(), bare.rows("rejected"), bare.store().versions()
    source = Vectors(path, name="audio")
    if kind == "parquet":
        wrote(path, 20)
    elif kind == "npy":
        npy(path, 10, dim=2)
    else:
        path.with_suffix(".ids.txt").write_text("".join(f"w{i}\n" for i in range(10)))
        os.utime(path.with_suffix(".ids.txt"), ns=(1, 1))
    said = refusal(lambda: ingest(bare.uri(), source, bare.settings(clip=None), LocalRunner()), NotReady)
    assert "was written to while it was read; run again when it is complete" in said
    assert (bare.rows(), bare.rows("rejected"), bare.store().versions()) == before


def test_paths_are_found_from_another_folder(tmp_path, monkeypatch):
    """As by a worker on a cluster."""
    for folder in ("parquet", "npy"):
        (tmp_path / folder).mkdir()
    wrote(tmp_path / "parquet" / "v.parquet")
    npy(tmp_path / "npy" / "v.npy")
    lance.write_dataset(table(10), tmp_path / "t.lance")
    monkeypatch.chdir(tmp_path)
    named = ("parquet/v.parquet", "npy/v.npy", "parquet", "./np[xy]/*.npy", "lance:t.lance", "lance:./t.lance#vector")
    opened = [Vectors(name) for name in named]
    monkeypatch.chdir("/")
    assert [len(everything(source)[1]) for source in opened] == [10] * 6


# Hostile files


def header(shape, descr="<f4", data=b"\0" * 24):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


# Whoever unpickles it makes a folder.
HARMFUL = b"cos\nmkdir\n(S'harmed'\ntR."

ARRAYS = {
    "nothing": b"",
    "no header": b"\x93NUMPY\x01\x00\xff\xff{",
    "pickled": HARMFUL,
    "pickled in an array": header("(1,)", "|O", HARMFUL),
    "a header that is code": header("__import__('os').mkdir('harmed')"),
    **{
        f"shape {shape}": header(shape)
        for shape in (
            "(2, 1000000000)", "(1000000000000, 3)", "(9223372036854775807, 9223372036854775807)", "(-1, 3)", "(2, -3)",
            "(1099511627776, 0)", "(18446744073709551616, 1)", "(1.5, 2)", "'ab'", "(True, 3)", "()", "(3,)",
            "(1, 2, 3)", "(6, 100000)",
        )
    },
    "a long type": header("(2, 3)", "<f4" + " " * 5000),
    "integers": header("(2, 3)", "<i4"),
    "records": header("(2,)", "<f4,<f4,<f4"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_a_hostile_array_ends_with_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.npy").write_bytes(ARRAYS[name])
    (tmp_path / "v.ids.txt").write_text("a\nb\n")
    assert "v.npy" in refusal(lambda: Vectors(tmp_path / "v.npy"))
    assert not (tmp_path / "harmed").exists()


def test_an_archive_of_arrays_is_not_an_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "v.npy", "w") as archive:
        archive.writestr("a.npy", header("(2, 3)"))
    (tmp_path / "v.ids.txt").write_text("a\nb\n")
    assert "cannot read vectors" in refusal(lambda: Vectors(tmp_path / "v.npy"))


IDS = {
    "fewer": (b"a\n", "fewer ids than the 2 rows"),
    "more": (b"a\nb\nc\n", "more ids than the 2 rows"),
    "more after an empty line": (b"a\nb\n\nc\n", "more ids than the 2 rows"),
    "an empty line": (b"a\n\nb\n", "line 2 is empty"),
    "twice": (b"a\na\n", "'a' in row 1 and row 2"),
    "not UTF-8": (b"a\n\xff\n", "line 2: the byte 0xFF is not UTF-8"),
    "one endless line": (b"a\n" + b"x" * (1 << 21), "has more than 1048576 characters"),
    "an endless line at the end": (b"a\nb\n" + b"x" * (1 << 21), "has more than 1048576 characters"),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_that_do_not_fit_the_rows_are_refused_before_there_is_a_database(bare, name):
    path = npy(bare.media / "v.npy", 2)
    path.with_suffix(".ids.txt").write_bytes(IDS[name][0])
    assert IDS[name][1] in refusal(lambda: bare.ingest_vectors(path))
    assert not (bare.root / "db").exists()


@pytest.mark.parametrize("text", [b"a\nb", b"a\r\nb\r\n", b"\xef\xbb\xbfa\nb\n", b"a\nb\n\n \n"])
def test_ids_may_be_as_editors_write_them(tmp_path, text):
    path = npy(tmp_path / "v.npy", 2)
    path.with_suffix(".ids.txt").write_bytes(text)
    assert everything(Vectors(path))[0] == ["a", "b"]


@pytest.mark.parametrize("kept", [0, 4, 200, -1, -4, -8, -60])
def test_a_truncated_parquet_file_ends_with_one_line(bare, kept):
    path = wrote(bare.media / "v.parquet", 1000)
    path.write_bytes(path.read_bytes()[: kept or None] if kept else b"")
    assert "cannot read vectors" in refusal(lambda: bare.ingest_vectors(path))
    assert not (bare.root / "db").exists()


def test_damaged_bytes_of_a_parquet_file_are_one_line_or_other_values(bare):
    whole = wrote(bare.media / "v.parquet", 300).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(4, len(whole) - 8, 1 + number % 4):
            damaged[place] ^= int(rng.integers(1, 256))
        path = bare.media / f"{number}.parquet"
        path.write_bytes(damaged)
        with contextlib.suppress(BadInput):
            for batch in Vectors(path).parts[0].batches():
                batch.validate()


def zigzag(number):
    out, number = b"", number << 1
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


@pytest.mark.parametrize("claimed", [2**31, 2**62])
def test_a_parquet_file_that_claims_more_numbers_than_vectors_have_is_refused(tmp_path, claimed):
    path = wrote(tmp_path / "v.parquet", 1003)
    data = path.read_bytes()
    length = struct.unpack("<I", data[-8:-4])[0]
    footer = data[-8 - length : -8].replace(zigzag(3009), zigzag(claimed))
    path.write_bytes(data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1")
    assert f"{claimed} numbers in 1003 rows" in refusal(lambda: Vectors(path))


BOMB = """
import resource, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from fuseid.core.errors import BadInput
from fuseid.pipelines.sources.vectors import Vectors

path, rows, long = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
lengths = np.full(rows, 8)
lengths[rows // 2] = long
ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
column = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.broadcast_to(np.float32(1), ends[-1])))
ids = pa.array(np.arange(rows).astype(str))
pq.write_table(pa.table({"content_id": ids, "vector": column}), path, compression="zstd")
del column
open(path + ".written", "w").write("")
"""
READ = """
import resource, sys
from fuseid.core.errors import BadInput
from fuseid.pipelines.sources.vectors import Vectors

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Vectors(sys.argv[1])
except BadInput as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 100_000])
def test_a_small_file_that_would_fill_the_memory_is_refused_in_little_memory(tmp_path, rows):
    path = str(tmp_path / "v.parquet")
    subprocess.run([sys.executable, "-c", BOMB, path, str(rows), str(1 << 26)], check=True)
    assert os.path.getsize(path) < 1 << 20
    read = subprocess.run([sys.executable, "-c", READ, path], check=True, capture_output=True, text=True)
    said, kib = read.stdout.splitlines()
    assert "numbers in" in said
    assert int(kib) < 64 << 10
