"""The tracks that an MP4 calls films."""

from __future__ import annotations

import io
import struct

from hypothesis import given
from hypothesis import strategies as st

from fuseid.encoders.mov_tracks import film_tracks

from ..data.hostile_bytes import box  # noqa: TID252  (the tests are no package)


def track(number: int, handler: bytes, version: int = 0) -> bytes:
    times = bytes(16) if version else bytes(8)
    header = box(b"tkhd", bytes([version, 0, 0, 1]), times, struct.pack(">I", number), bytes(60))
    return box(b"trak", header, box(b"mdia", box(b"mdhd", bytes(24)), box(b"hdlr", bytes(8), handler, bytes(13))))


TRACKS = [track(1, b"soun"), track(2, b"vide"), track(3, b"auxv", version=1), track(7, b"vide", version=1)]


def test_films_are_found_wherever_the_header_is_and_the_position_stays():
    moov, media = box(b"moov", box(b"mvhd", bytes(100)), *TRACKS), box(b"mdat", b"moov" * 9)
    long = struct.pack(">I4sQ", 1, b"mdat", 16 + 40) + bytes(40)
    for data in (moov + media, media + moov, long + moov, moov, media + struct.pack(">I", 0) + moov[4:]):
        file = io.BytesIO(data)
        file.seek(5)
        assert film_tracks(file) == {2, 7}
        assert file.tell() == 5


@given(st.data())
def test_damaged_headers_end_the_search(data):
    whole = bytearray(box(b"moov", *TRACKS))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    assert all(0 <= number < 1 << 32 for number in film_tracks(io.BytesIO(bytes(whole[:cut]))))


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data):
    assert isinstance(film_tracks(io.BytesIO(data)), frozenset)
