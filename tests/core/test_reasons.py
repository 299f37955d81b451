"""Real errors of other libraries, in one line of plain words."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import lance
import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.numpy import load as load_tensors

from fuseid.core.errors import BadInput, MissingFile
from fuseid.core.reasons import is_fault, json_type, library_reason, reason

# What no reason has: positions in source code, classes, addresses in memory, advice to load code.
FOREIGN = re.compile(r"\.rs\b|\.cc\b|/rustc/|Location|Error\b|[Ee]xception|object at 0x|pickle|Errno|<class|\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Lance table `t.lance` and files that are damaged."""
    folder = tmp_path_factory.mktemp("faults")
    table = pa.table({"content_id": ["a", "b"], "x": [1, 2]})
    for name in ("t", "short", "lost"):
        lance.write_dataset(table, folder / f"{name}.lance")
    short, lost = (next((folder / f"{name}.lance" / "data").iterdir()) for name in ("short", "lost"))
    short.write_bytes(short.read_bytes()[:40])
    lost.unlink()
    shutil.copytree(folder / "t.lance", folder / "manifest.lance")
    for manifest in (folder / "manifest.lance" / "_versions").iterdir():
        manifest.write_bytes(b"xx")
    pq.write_table(table, folder / "whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.parquet").touch()
    (folder / "inner.parquet").write_bytes(whole[:8] + b"\xff" * 40 + whole[48:])
    (folder / "wide.csv").write_text("a,b\n1,2\n3\n")
    (folder / "latin.csv").write_bytes(b"a\n\xff\xfe\n")
    (folder / "bad.jsonl").write_text('{"a":1}\n{"a":\n')
    np.save(folder / "whole.npy", np.zeros((10, 4), np.float32))
    (folder / "half.npy").write_bytes((folder / "whole.npy").read_bytes()[:150])
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    (folder / "bad.npz").write_bytes(b"PK\x03\x04xxxx")
    (folder / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"x" * 200)
    picture = io.BytesIO()
    Image.new("RGB", (50, 50)).save(picture, "PNG")
    (folder / "half.png").write_bytes(picture.getvalue()[:60])
    (folder / "no.png").write_bytes(b"xx")
    return folder


def where(condition: str) -> Callable[[Path], object]:
    return lambda folder: lance.dataset(str(folder / "t.lance")).to_table(filter=condition)


def table(name: str) -> Callable[[Path], object]:
    return lambda folder: lance.dataset(str(folder / f"{name}.lance")).to_table()


def parquet(name: str) -> Callable[[Path], object]:
    return lambda folder: pq.read_table(folder / f"{name}.parquet")


def picture(name: str) -> Callable[[Path], object]:
    return lambda folder: Image.open(io.BytesIO((folder / name).read_bytes())).load()


def in_a_bucket(folder: Path) -> object:
    """A server that answers nothing: its port is taken and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        options = {
            "aws_endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}", "allow_http": "true",
            "client_max_retries": "0",
            "aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "us-east-1",
        }  # fmt: skip
        return lance.dataset("s3://bucket/t.lance", storage_options=options)


def lancedb_where(folder: Path) -> object:
    vectors = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    contents = lancedb.connect(str(folder / "db")).create_table("c", pa.table({"v": vectors}), mode="overwrite")
    return contents.search(np.ones(2, np.float32), vector_column_name="v").where("nope = 1").to_list()


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (where("content_id = = 1"), "an expression is expected, found ="),
    (where("content_id = 'a"), "Unterminated string literal"),
    (where("nope = 1"), "there is no column nope; there are content_id, x"),
    (where("x = 'abc'"), '"abc" is no Int64'),
    (where("x + 1"), "x + 1 is neither true nor false"),
    (where("x / 0 = 1"), "Divide by zero"),
    (where("CAST(content_id AS int) = 1"), "Cannot cast string 'a' to value of Int32 type"),
    (where("regexp_like(content_id, '(')"), "the regular expression is not valid: unclosed group"),
    (where("nofunc(x) = 1"), "Invalid function 'nofunc'. Did you mean"),
    (lancedb_where, "there is no column nope; there are v"),
    (lambda folder: lancedb.connect(str(folder / "db")).open_table("nope"), "Table 'nope' was not found"),
    (table("short"), "a file is cut short, to 40 bytes"),
    (table("manifest"), "a file is cut short, to 2 bytes"),
    (table("lost"), ".lance is missing"),
    (table("nowhere"), "there is no Lance table at "),
    (in_a_bucket, "http://127.0.0.1:"),
    (parquet("half"), "it is no Parquet file, or its end is missing"),
    (parquet("empty"), "it is empty"),
    (parquet("inner"), "its content is damaged"),
    (parquet("nowhere"), "nowhere.parquet"),
    (lambda folder: pq.ParquetFile(folder / "nowhere.parquet"), "No such file or directory"),
    (lambda folder: csv.read_csv(folder / "wide.csv"), "Expected 2 columns, got 1: 3"),
    (
        lambda folder: csv.read_csv(
            folder / "latin.csv", convert_options=csv.ConvertOptions(column_types={"a": pa.string()})
        ),
        "a text is not UTF-8",
    ),
    (lambda folder: pyarrow.json.read_json(folder / "bad.jsonl"), "Invalid value, in row 1"),
    (lambda _: pc.assume_timezone(pa.array([0], pa.timestamp("s")), "No/Zone"), "Cannot locate or parse timezone"),
    (lambda folder: np.load(folder / "half.npy"), "its end is missing"),
    (lambda folder: np.load(folder / "half.npy", mmap_mode="r"), "its end is missing"),
    (lambda folder: np.load(folder / "objects.npy"), "it holds objects of Python, which are not read"),
    (lambda folder: np.load(io.BytesIO((folder / "bad.npz").read_bytes())), "File is not a zip file"),
    (lambda _: load_tensors(b"\0\0\1"), "header too small"),
    (lambda _: json.loads("{a: 1}"), "expecting property name enclosed in double quotes, at line 1, column 2"),
    (lambda _: b"caf\xe9".decode(), "it is not UTF-8: byte 0xe9 at 3"),
    (lambda folder: av.open(str(folder / "bad.mp4")), "Invalid data found when processing input"),
    (lambda folder: av.open(str(folder / "nowhere.mp4")), "No such file or directory"),
    (picture("half.png"), "image file is truncated"),
    (picture("no.png"), "cannot identify image file"),
    (lambda folder: (folder / "t.lance").read_bytes(), "Is a directory"),
    (lambda _: {}["kind"], "it lacks 'kind'"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_a_real_error_is_one_line_of_plain_words(folder: Path, fault: Callable[[Path], object], said: str) -> None:
    with pytest.raises(Exception) as caught:
        fault(folder)
    line = reason(caught.value)
    assert said in line
    assert not FOREIGN.search(line)
    assert len(line) <= 300


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionResetError(), "connection reset"),
        (zipfile.BadZipFile(), "bad zip file"),
        (MemoryError(), "there is not enough memory"),
        (
            ValueError(
                "LanceError(IO): Generic S3 error: Error performing GET http://s3/x in 1s, after 3 retries, "
                "max_retries: 10, retry_timeout: 180s  - Server returned non-2xx status code: 404 Not Found: "
                "<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>, /r/a.rs:1:2"
            ),
            "the server answers NoSuchBucket: The bucket does not exist",
        ),
        (OSError("HTTPSConnectionPool(host='hub', port=443): Max retries: /x"), "hub does not answer"),
        (ValueError("\x1b[31mred\x1b[0m"), "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}[0m"),
        (RuntimeError("bad thing (src/io/reader.cc:12)"), "bad thing"),
    ],
)  # fmt: skip
def test_an_error_that_is_rare_is_one_line_of_plain_words(error: Exception, said: str) -> None:
    assert reason(error) == said


@pytest.mark.parametrize("error", [BadInput("LanceError(IO): as it is."), MissingFile("no such file: 'a'")])
def test_an_error_of_fuseid_keeps_its_message(error: Exception) -> None:
    assert reason(error) == str(error)


def test_an_error_of_a_task_is_the_error_that_the_task_raised() -> None:
    class OfTask(Exception):
        cause = BadInput("the cause")

    assert reason(OfTask("ray::task() (pid=1)\nTraceback")) == "the cause"


def test_a_fault_of_a_program_is_known_as_one() -> None:
    assert is_fault(TypeError("x"))
    assert not is_fault(OSError("x"))


@pytest.mark.parametrize("call", [lambda: [].get("a"), [].pop, lambda: {}["a"], lambda: None + 1])
def test_a_fault_of_a_librarys_own_code_is_named_not_quoted(call):
    with pytest.raises(Exception) as caught:
        call()
    assert library_reason(caught.value) == f"the library that reads it fails on it ({caught.type.__name__})"


def test_types_are_those_of_json():
    values = [True, 1, 1.5, "a", [], {}, None]
    names = ["true or false", "a number", "a number", "text", "a list", "an object", "null"]
    assert list(map(json_type, values)) == names
