"""What a file is by its name; and text that is not UTF-8 is refused with its line and a command that converts it."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.files.data_file import DataFile, format_of


def file_of(path: Path, data: bytes) -> DataFile:
    path.write_bytes(data)
    return DataFile(path, format_of(path.name) or "", str(path))


def text(file: DataFile, most_chars: int = 100, newline: str | None = None) -> list[str]:
    with file.lines(most_chars, newline) as lines:
        return list(lines)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.parquet", "parquet"), ("part-00000-4f.c000.snappy.parquet", "parquet"), ("a.gz.parquet", "parquet"),
        ("a.PARQUET", "parquet"), ("a.csv", "csv"), ("a.CSV.GZ", "csv"), ("a.tsv.zst", "tsv"),
        ("a.ndjson.gzip", "jsonl"), ("a.json", "jsonl"), ("a.txt.gz", "txt"), ("a.parquet.gz", None), ("a.gz", None),
        ("a.npy.gz", None), ("a.jsonl.zstd", "jsonl"), ("a.csv.bz2", None), ("csv", None), ("a.tar.gz", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_format_is_known_by_the_ending(name, expected):
    assert format_of(name) == expected


@given(st.text())
def test_any_name_has_a_format_or_none(name):
    assert format_of(name) in ("parquet", "jsonl", "csv", "tsv", "txt", "npy", None)


def test_a_byte_order_mark_is_no_text(tmp_path):
    data = b"\xef\xbb\xbfa\xc3\xa9\r\nb"
    assert text(file_of(tmp_path / "a.csv", data)) == ["aé\n", "b"]
    assert text(file_of(tmp_path / "a.csv.gz", gzip.compress(data)), newline="") == ["aé\r\n", "b"]


def test_a_line_without_an_end_is_not_held_in_memory(tmp_path):
    file = file_of(tmp_path / "a.jsonl", b"short\n" + b"x" * 101)
    with pytest.raises(BadInput, match=r"line 2 has more than 100 characters"):
        text(file)
    assert text(file_of(tmp_path / "b.jsonl", b"x" * 99 + b"\n")) == ["x" * 99 + "\n"]


ROWS = "content_id,caption\n" + "".join(f"i{number},words {number}\n" for number in range(500)) + "é,Zoë € “so”\n"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("encoding", "line"), [("cp1252", 502), ("utf-16", 1), ("utf-16-le", 1), ("utf-16-be", 1), ("utf-32", 1)]
)
def test_text_in_another_encoding_is_refused_with_a_command_that_converts_it(tmp_path, encoding, line, packed):
    data = ROWS.encode(encoding)
    file = file_of(tmp_path / f"it's.csv{'.gz' * packed}", gzip.compress(data) if packed else data)
    with pytest.raises(BadInput) as refused:
        text(file)
    message = str(refused.value)
    assert f"{file.shown}, line {line}:" in message
    assert "\n" not in message
    if encoding == "cp1252":
        assert "the byte 0xE9 is not UTF-8; if it is 'é' in cp1252: " in message
    command = message[min(message.index(word) for word in ("iconv", "gzip -dc") if word in message) :]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert "".join(text(DataFile(tmp_path / "NEW.csv", "csv", "NEW.csv"))) == ROWS


def test_text_that_was_cut_within_a_character_is_refused(tmp_path):
    with pytest.raises(BadInput, match="line 2 ends within a character: the file was cut off"):
        text(file_of(tmp_path / "a.csv", "a\né".encode()[:-1]))


@pytest.mark.parametrize(
    ("name", "header", "said"),
    [
        ("a.csv", "content_id;caption", "separated by semicolons, not commas; convert it: cat "),
        ("a.csv", "content_id|caption", "separated by bars, not commas"),
        ("a.csv", "content_id\tcaption", "separated by tabs; name such a file .tsv"),
        ("a.tsv", "content_id,caption", "separated by commas; name such a file .csv"),
        ("a.csv", "content_id,caption;x", None),
        ("a.csv", "content_id", None),
    ],
)
def test_another_separator_is_named_with_what_to_do(tmp_path, name, header, said):
    file = file_of(tmp_path / name, header.encode())
    names = header.split({"a.csv": ",", "a.tsv": "\t"}[name])
    problem = file.separator_problem(names)
    assert (problem is None) == (said is None)
    assert said is None or (said in problem and "line 1" in problem)


def test_the_command_for_semicolons_writes_commas(tmp_path):
    file = file_of(tmp_path / "a b.csv", b'content_id;caption\na;"x; y, z"\n')
    command = (file.separator_problem(["content_id;caption"]) or "").partition("convert it: ")[2]
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / "NEW.csv").read_text().splitlines() == ["content_id,caption", 'a,"x; y, z"']
