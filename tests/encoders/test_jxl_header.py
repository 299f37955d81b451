import contextlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import Unrecognised
from fuseid.encoders.jxl_header import JxlHeader, read_header
from fuseid.encoders.media import decode


class Bits:
    """Writes numbers from the lowest bit on."""

    def __init__(self) -> None:
        self.value, self.count = 0x0AFF, 16

    def put(self, *fields: tuple[int, int]) -> "Bits":
        """(value, bits) each."""
        for value, bits in fields:
            self.value |= value << self.count
            self.count += bits
        return self

    def bytes(self) -> bytes:
        return self.value.to_bytes(-(-self.count // 8) + 8, "little")


ENUM = {1: ((1, 2),), 0: ((0, 2),), 2: ((2, 2), (0, 4)), 4: ((2, 2), (2, 4)), 8: ((2, 2), (6, 4)), 9: ((2, 2), (7, 4)),
        11: ((2, 2), (9, 4)), 13: ((2, 2), (11, 4)), 16: ((2, 2), (14, 4)), 18: ((3, 2), (0, 6))}  # fmt: skip
SIZE = ((0, 1), (0, 2), (23, 9), (0, 3), (0, 2), (47, 9))  # 48 x 24
EIGHT_BITS = ((0, 1), (0, 2))


def header(*colours: tuple[int, int], extras: tuple[tuple[int, int], ...] = ((0, 2),), orientation: int = 1) -> bytes:
    """48 x 24 of 8 bits."""
    bits = Bits().put(*SIZE, (0, 1))
    if orientation == 1:
        bits.put((0, 1))
    else:
        bits.put((1, 1), (orientation - 1, 3), (0, 1), (0, 1), (0, 1))
    return bits.put(*EIGHT_BITS, (1, 1), *extras, (1, 1), *colours).bytes()


SRGB = ((1, 1),)


@given(
    st.integers(1, 300), st.integers(1, 300), st.sampled_from([(), (1,), (3,), (4,)]), st.booleans(),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_size_and_depth_are_those_that_the_library_wrote(width, height, channels, container, kind):
    samples = np.zeros((height, width, *(c for c in channels if c != 1)), kind)
    found = read_header(imagecodecs.jpegxl_encode(samples, lossless=True, usecontainer=container))
    assert (found.width, found.height) == (width, height)
    assert found.bits == {np.uint8: 8, np.uint16: 16, np.float32: 32}[kind]
    assert found.cicp in (None, (1, 13, 0, 1)) if kind == np.uint8 else found.cicp == (1, 8, 0, 1)
    assert (found.has_profile, found.premultiplied, found.black) == (False, False, False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_as_shown(orientation):
    found = read_header(header(*SRGB, orientation=orientation))
    assert (found.width, found.height) == ((48, 24) if orientation <= 4 else (24, 48))


@pytest.mark.parametrize(
    ("primaries", "transfer", "cicp"),
    [(1, 13, (1, 13)), (11, 13, (12, 13)), (9, 16, (9, 16)), (9, 18, (9, 18)), (1, 8, (1, 8)), (11, 1, (12, 1))],
)
def test_named_colours_are_read(primaries, transfer, cicp):
    named = ((0, 1), (0, 1), *ENUM[0], *ENUM[1], *ENUM[primaries], (0, 1), *ENUM[transfer], *ENUM[0])
    assert read_header(header(*named)).cicp == (*cicp, 0, 1)


def test_a_profile_black_ink_and_premultiplied_alpha_are_seen(tmp_path):
    profile = header((0, 1), (1, 1))
    assert read_header(profile).has_profile
    channel = ((0, 1), *ENUM[0], *EIGHT_BITS, (0, 2), (0, 2))
    assert read_header(header(*SRGB, extras=((1, 2), *channel, (1, 1)))).premultiplied
    assert not read_header(header(*SRGB, extras=((1, 2), *channel, (0, 1)))).premultiplied
    assert not read_header(header(*SRGB, extras=((1, 2), (1, 1)))).premultiplied
    ink = ((0, 1), *ENUM[4], *EIGHT_BITS, (0, 2), (0, 2))
    black = header(*SRGB, extras=((1, 2), *ink))
    assert read_header(black).black
    for data in (profile, black):
        (tmp_path / "p.jxl").write_bytes(data)
        with pytest.raises(Unrecognised, match="JPEG XL of a kind that is not read"):
            decode(str(tmp_path / "p.jxl"), "image", DecodeConfig())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\x0a", "cut"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "holds no codestream"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\0jxlc", "no codestream|cut"),
        (header((0, 1), (0, 1), *ENUM[0], *ENUM[2]), "white point"),
        (header((0, 1), (0, 1), *ENUM[0], *ENUM[1], *ENUM[2]), "primaries"),
        (header((0, 1), (0, 1), *ENUM[0], *ENUM[1], *ENUM[1], (1, 1)), "power"),
    ],
)
def test_headers_that_are_cut_or_not_read_are_named(data, words):
    with pytest.raises(ValueError, match=words):
        read_header(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_header_or_a_valueerror(data):
    with contextlib.suppress(ValueError):
        assert isinstance(read_header(b"\xff\x0a" + data), JxlHeader)
