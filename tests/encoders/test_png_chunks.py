import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia
from fuseid.encoders.media import decode
from fuseid.encoders.png_chunks import MOST_PROFILE_BYTES, split_png

from ..data.hostile_bytes import chunk, picture, png, saved, segment  # noqa: TID252  (the tests are no package)
from .picture_cases import ffmpeg
from .picture_values import ALPHA, RGB, of_depth, on_white, shown

MIB = 1 << 20
PLAIN = np.asarray(picture())
TURNED = Image.Exif()
TURNED[0x0112] = 6
RAW_EXIF = b"\nexif\n%8d\n" % len(TURNED.tobytes()) + TURNED.tobytes().hex().encode() + b"\n"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def with_chunks(*chunks: bytes, after: bytes = b"") -> bytes:
    """A good PNG with `chunks` before its pixels and `after` behind them."""
    good = saved("PNG")
    end = len(good) - 12
    return good[:33] + b"".join(chunks) + good[33:end] + after + good[end:]


def frame(tmp_path: Path, data: bytes) -> np.ndarray:
    path = tmp_path / "p.png"
    path.write_bytes(data)
    return decode(str(path), "image", DecodeConfig()).frames[0]


def texts(size: int) -> dict[str, bytes]:
    long, packed = b"a" * size, zlib.compress(b"a" * size, 9)
    return {
        "tEXt": chunk(b"tEXt", b"Comment\0" + long),
        "zTXt": chunk(b"zTXt", b"Comment\0\0" + packed),
        "iTXt": chunk(b"iTXt", b"Comment\0\0\0\0\0" + long),
        "iTXt packed": chunk(b"iTXt", b"Comment\0\1\0\0\0" + packed),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + long),
        "XMP packed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        "EXIF as text": chunk(b"zTXt", b"Raw profile type exif\0\0" + packed),
        "iCCP": chunk(b"iCCP", b"Profile\0\0" + packed),
        "eXIf": chunk(b"eXIf", TURNED.tobytes()[6:] + long),
        "unknown": chunk(b"prVt", long),
    }


@pytest.mark.parametrize("name", texts(0))
@pytest.mark.parametrize("place", ["before", "behind"])
def test_large_texts_and_profiles_do_not_keep_a_picture_out(tmp_path, name, place):
    one = texts(3 * MIB)[name]
    found = frame(tmp_path, with_chunks(one) if place == "before" else with_chunks(after=one))
    expected = PLAIN if name != "eXIf" else np.rot90(PLAIN, -1)
    np.testing.assert_array_equal(found, expected)


def test_texts_that_unpack_to_64_mebibytes_are_not_unpacked(tmp_path):
    packed = zlib.compress(bytes(64 * MIB), 1)
    bombs = [
        chunk(b"zTXt", b"Comment\0\0" + packed),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + packed),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        chunk(b"iCCP", b"Profile\0\0" + packed),
    ]
    assert sum(map(len, bombs)) < 2 * MIB
    started = time.process_time()
    np.testing.assert_array_equal(frame(tmp_path, with_chunks(*bombs * 20)), PLAIN)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "one",
    [
        chunk(b"eXIf", TURNED.tobytes()[6:]),
        chunk(b"tEXt", b"Raw profile type exif\0" + RAW_EXIF),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_EXIF)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    ],
    ids=["eXIf", "tEXt", "zTXt", "XMP"],
)
def test_an_orientation_among_large_texts_is_applied(tmp_path, one):
    large = texts(2 * MIB)
    data = with_chunks(large["tEXt"], one, large["iCCP"], after=large["zTXt"])
    np.testing.assert_array_equal(frame(tmp_path, data), np.rot90(PLAIN, -1))


def test_a_png_without_texts_is_not_copied():
    data = saved("PNG")
    assert split_png(data).data is data


def test_the_profile_and_the_numbers_of_the_colour_space_are_found():
    profile = b"profile" * 1000
    found = split_png(
        with_chunks(chunk(b"iCCP", b"name\0\0" + zlib.compress(profile)), chunk(b"cICP", b"\x09\x10\0\1"))
    )
    assert (found.profile, found.cicp, found.depth) == (profile, (9, 16, 0, 1), 8)
    too_long = chunk(b"iCCP", b"name\0\0" + zlib.compress(b"p" * (MOST_PROFILE_BYTES + 1)))
    assert split_png(with_chunks(too_long)).profile is None
    assert split_png(with_chunks(chunk(b"iCCP", b"name\0\0no zlib"))).profile is None
    assert split_png(with_chunks(chunk(b"iCCP", b"name"))).profile is None


def test_damage_stays_for_the_decoder_to_find(tmp_path):
    text = chunk(b"tEXt", b"Comment\0long")
    endless = text[:3] + b"\xff" + text[4:]
    with pytest.raises(CorruptMedia):
        frame(tmp_path, with_chunks(endless))
    for cut in (0, 8, 30, 40, 60):
        data = with_chunks(text)[:cut]
        assert split_png(data).data == data or text not in split_png(data).data


def test_large_metadata_of_other_formats_do_not_keep_a_picture_out(tmp_path):
    """The same for the segments, blocks and tags in which other formats keep texts, profiles and EXIF."""
    text = b"a" * (5 * MIB)
    jpeg, gif = saved("JPEG"), saved("GIF")
    block = b"\xff" + b"a" * 255
    colours = 13 + 3 * (2 << (gif[10] & 7))
    files = {
        f"{marker:x}.jpg": jpeg[:2] + segment(marker, text[:65000]) * 80 + jpeg[2:]
        for marker in (*range(0xE0, 0xEE), 0xEF, 0xFE)
    }
    pieces = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([number, 80]) + text[:65000]) for number in range(1, 81))
    files["profile.jpg"] = jpeg[:2] + pieces + jpeg[2:]
    files["comment.gif"] = gif[:colours] + b"!\xfe" + block * 20_000 + b"\0" + gif[colours:]
    files["application.gif"] = gif[:colours] + b"!\xff\x0bSOME  THING" + block * 20_000 + b"\0" + gif[colours:]
    for format in ("WEBP", "AVIF"):
        files[f"profile.{format}"] = saved(format, icc_profile=text)
        files[f"xmp.{format}"] = saved(format, xmp=text)
    files["profile.tif"] = saved("TIFF", icc_profile=text)
    files["description.tif"] = saved("TIFF", description=text.decode())
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        decoded = decode(str(tmp_path / name), "image", DecodeConfig())
        assert np.abs(decoded.frames[0].astype(int) - PLAIN).mean() < 12, name
        # Nor does it go into the thumbnail.
        assert len(decoded.thumbnail) < 10_000, name
        assert not {"icc_profile", "comment"} & Image.open(io.BytesIO(decoded.thumbnail)).info.keys(), name


def test_bits_per_sample_are_read_from_the_header():
    assert [split_png(png(depth=depth)).depth for depth in (1, 16)] == [1, 16]
    assert split_png(struct.pack(">Q", 0)).depth == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("blend", [0, 1])
def test_a_picture_that_is_not_part_of_the_animation_is_not_shown(tmp_path, mode, blend):
    """It is for programs that do not know animation. FFmpeg shows the first frame, too."""
    first = Image.fromarray(shown(RGB))
    if mode == "RGBA":
        first.putalpha(Image.fromarray(of_depth(ALPHA, 8)))
    more = {"save_all": True, "default_image": True, "blend": blend}
    hidden, second = Image.new(mode, first.size, "red"), Image.new(mode, first.size, "blue")
    data = saved("PNG", hidden, append_images=[first, second], **more)
    (tmp_path / "animation.png").write_bytes(data)
    found = decode(str(tmp_path / "animation.png"), "image", DecodeConfig()).frames[0]
    assert np.abs(found.astype(int) - ffmpeg(data)).max() <= 1
    assert np.abs(found.astype(int) - shown(on_white(RGB, ALPHA) if mode == "RGBA" else RGB)).max() <= 1
    # Where the picture is the first frame, nothing changes.
    plain = saved("PNG", first, save_all=True, append_images=[second])
    assert split_png(plain).data is plain
