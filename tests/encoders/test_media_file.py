import os

import pytest

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, MissingFile, TooLarge
from fuseid.encoders.media import decode
from fuseid.encoders.media_file import hash_bytes, hash_file, image_format, open_media, video_format

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
