import os
import re

import pytest

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, MissingFile, TooLarge, Unrecognised
from fuseid.encoders.media import decode
from fuseid.encoders.media_file import (
    hash_bytes,
    hash_file,
    image_format,
    open_media,
    unread_format,
    video_format,
)

CONFIG = DecodeConfig()


@pytest.mark.parametrize("kind", ["image", "video"])
class TestEitherKind:
    def test_a_missing_file_is_missing_file(self, tmp_path, kind):
        with pytest.raises(MissingFile, match="No such file"):
            decode(str(tmp_path / "none"), kind, CONFIG)

    def test_a_directory_is_missing_file(self, tmp_path, kind):
        with pytest.raises(MissingFile, match="is a directory"):
            decode(str(tmp_path), kind, CONFIG)

    @pytest.mark.timeout(20)
    def test_a_fifo_is_not_waited_for(self, tmp_path, kind):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(MissingFile, match="not a regular file"):
            decode(str(tmp_path / "fifo"), kind, CONFIG)

    def test_a_device_is_not_read(self, kind):
        with pytest.raises(MissingFile, match="not a regular file"):
            decode("/dev/zero", kind, CONFIG)

    def test_an_impossible_file_name_is_missing_file(self, kind):
        with pytest.raises(MissingFile):
            decode("a\0b", kind, CONFIG)

    def test_an_empty_file_is_corrupt(self, tmp_path, kind):
        (tmp_path / "empty").touch()
        with pytest.raises(CorruptMedia, match="0 bytes"):
            decode(str(tmp_path / "empty"), kind, CONFIG)

    def test_a_file_over_the_limit_is_too_large(self, tmp_path, kind):
        (tmp_path / "big").write_bytes(b"x" * 1000)
        with pytest.raises(TooLarge, match=r"1000 bytes.*999"):
            decode(str(tmp_path / "big"), kind, DecodeConfig(max_bytes=999))


def test_an_unknown_kind_is_a_programming_error():
    with pytest.raises(ValueError, match="text"):
        decode("x", "text", CONFIG)


def test_hash_of_a_stream_is_the_hash_of_its_bytes(tmp_path):
    data = os.urandom(3_000_000)
    (tmp_path / "f").write_bytes(data)
    with open_media(str(tmp_path / "f"), 10**9) as file:
        assert hash_file(file) == hash_bytes(data)
        assert file.tell() == 0
    assert len(hash_bytes(b"")) == 32


@pytest.mark.parametrize(
    ("head", "demuxer"),
    [
        (b"\0\0\0\x18ftypisom", "mov"),
        (b"\0\0\0\x18ftypqt  ", "mov"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
        (b"\x1a\x45\xdf\xa3....", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        ((b"G" + b"\xff" * 187) * 4, "mpegts"),
        ((b"\0\0\0\0G" + b"\xff" * 187) * 4, "mpegts"),
        (b"\0\0\x01\xba....", "mpeg"),
        (b"FLV\x01....", "flv"),
        (b"OggS....", "ogg"),
        (b"\0\0\0\x18ftypavif", None),
        (b"#EXTM3U\n", None),
        (b"ffconcat version 1.0\n", None),
        (b"G" * 10, None),
        (b"", None),
    ],
)
def test_containers_are_recognised_by_their_bytes(head, demuxer):
    assert video_format(head) == demuxer


def test_pictures_are_not_taken_for_videos():
    assert image_format(b"\0\0\0\x18ftypavif") == "AVIF"
    assert image_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert image_format(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "HEIC"
    assert image_format(b"\0\0\0\x18ftypisom") is None
    assert image_format(b"RIFF\0\0\0\0AVI LIST") is None


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "a drawing (SVG)"),
        (b"\xef\xbb\xbf  <svg>", "a drawing (SVG)"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop document (PSD)"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file (CR2, CR3)"),
        (b"II*\0\x10\0\0\0CR\2\0", "a camera's raw file (CR2, CR3)"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file (RAF)"),
        (b"P6\n8 8\n255\n", "a portable map (PBM, PGM, PPM)"),
        (b"<!DOCTYPE html><html>", "a web page, perhaps an answer of a server that has no such picture"),
        (b"<?xml version='1.0'?><feed>", None),
        (b"P6rhaps a text", None),
        (b"\0" * 32, None),
    ],
)
def test_what_is_no_picture_for_fuseid_is_named(tmp_path, head, words):
    assert unread_format(head) == words
    assert image_format(head) is None
    assert video_format(head) is None
    (tmp_path / "a.png").write_bytes(head)
    with pytest.raises(Unrecognised, match=re.escape(f"it is {words}; convert it" if words else "known format")):
        decode(str(tmp_path / "a.png"), "image", DecodeConfig())
