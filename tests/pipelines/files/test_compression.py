"""Compressed files are recognised by their bytes, read as streams, and never end silently before their end."""

from __future__ import annotations

import gzip
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.files.compression import decompressed, shown_by

TEXT = "".join(f"line {number}, ünïcode\n" for number in range(3000)).encode()
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def read(path: Path, **limits: int) -> bytes:
    with decompressed(path, path, **limits) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


@pytest.mark.parametrize("codec", COMPRESS)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zst"])
def test_a_compressed_file_is_read_whatever_its_name(tmp_path, codec, name):
    path = tmp_path / name
    path.write_bytes(COMPRESS[codec](TEXT))
    assert read(path) == TEXT
    path.write_bytes(COMPRESS[codec](TEXT[:100]) + COMPRESS[codec](b"") + COMPRESS[codec](TEXT[100:]))
    assert read(path) == TEXT
    path.write_bytes(TEXT)
    assert read(path) == TEXT


@pytest.mark.parametrize("codec", COMPRESS)
def test_a_stream_that_is_cut_off_anywhere_is_refused(tmp_path, codec):
    first = len(COMPRESS[codec](TEXT[:200]))
    data = COMPRESS[codec](TEXT[:200]) + COMPRESS[codec](TEXT[200:])
    path = tmp_path / "a.csv.gz"
    for end in [*range(8, 200), *range(200, len(data), 101), *range(len(data) - 12, len(data))]:
        path.write_bytes(data[:end])
        if end == first:
            assert read(path) == TEXT[:200]  # between two members nothing shows that one is missing
        else:
            with pytest.raises(BadInput, match=f"ends too early: it is no complete {codec} file"):
                read(path)


@pytest.mark.parametrize("codec", COMPRESS)
def test_a_damaged_stream_is_refused(tmp_path, codec):
    data = bytearray(COMPRESS[codec](TEXT))
    place = len(data) // 2 if codec == "gzip" else 5  # without a checksum, zstd only knows a damaged structure
    data[place : place + 20] = bytes(20)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(BadInput, match="is damaged"):
        read(tmp_path / "a")
    (tmp_path / "a").write_bytes(COMPRESS[codec](TEXT) + b"rubbish")
    with pytest.raises(BadInput, match="is damaged"):
        read(tmp_path / "a")


@pytest.mark.parametrize("codec", COMPRESS)
def test_a_bomb_costs_no_memory_and_ends_at_a_limit(tmp_path, codec):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(COMPRESS[codec](b"\0" * (32 << 20)))
    tracemalloc.start()
    try:
        with decompressed(path, path) as stream:
            assert sum(len(piece) for piece in iter(lambda: stream.read(1 << 16), b"")) == 32 << 20
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(BadInput, match="more than 16777216 bytes decompressed, 500 times its size"):
        read(path, free_bytes=16 << 20)


@pytest.mark.parametrize(
    ("magic", "name"), [(b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4"), (b"PK\3\4", "zip")]
)
def test_other_compressions_are_refused_by_name(tmp_path, magic, name):
    path = tmp_path / "a b.csv"
    path.write_bytes(magic + TEXT)
    with pytest.raises(BadInput, match=f"is compressed by {name}; .* '{tmp_path}/a b.csv' > NEW"):
        read(path)


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_the_command_that_shows_a_file_can_be_pasted(tmp_path, codec):
    path = tmp_path / "it's $(a).csv"
    path.write_bytes(TEXT if codec is None else COMPRESS[codec](TEXT))
    assert subprocess.run(shown_by(path, str(path)), shell=True, check=True, capture_output=True).stdout == TEXT
