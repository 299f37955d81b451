"""HEIC and AVIF of several items: grids, alpha, and which item's colours and orientation count."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.encoders.heif_boxes import primary_cicp
from fuseid.encoders.media import decode

from ..data.heic_files import Item, coded_item, colour_box, heif, size_box  # noqa: TID252  (the tests are no package)
from ..data.hostile_bytes import box  # noqa: TID252
from .picture_values import ALPHA, RGB, of_depth, on_white, shown

BRANDS = (b"heic", b"avif")
PIXELS = shown(RGB)
SRGB, PQ = colour_box(1, 13), colour_box(9, 16)
# Quarter turns counter-clockwise, and left with right.
TURNED, MIRRORED = box(b"irot", b"\1"), box(b"imir", b"\1")
ALPHA_NAMES = {
    b"heic": b"urn:mpeg:hevc:2015:auxid:1\0",
    b"avif": b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0",
}


def frame(tmp_path, data: bytes) -> np.ndarray:
    (tmp_path / "picture").write_bytes(data)
    return decode(str(tmp_path / "picture"), "image", DecodeConfig()).frames[0].astype(int)


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("turn", [(), (TURNED,), (MIRRORED,), (TURNED, MIRRORED)], ids=len)
def test_a_grid_of_tiles_is_one_picture(tmp_path, brand, turn):
    """As telephones write it: six tiles, of which the last ones reach beyond the picture."""
    large = np.asarray(Image.fromarray(PIXELS).resize((192, 128)))
    places = [(x, y) for y in (0, 64) for x in (0, 64, 128)]
    tiles = [np.ascontiguousarray(large[y : y + 64, x : x + 64]) for x, y in places]
    items = {number: coded_item(brand, tile, SRGB) for number, tile in enumerate(tiles, 1)}
    layout = struct.pack(">4BHH", 0, 0, 1, 2, 180, 120)
    items[7] = Item(b"grid", layout, [size_box(180, 120), SRGB, *turn], [(b"dimg", range(1, 7))])
    expected = large[:120, :180]
    expected = np.rot90(expected) if TURNED in turn else expected
    expected = expected[:, ::-1] if MIRRORED in turn else expected
    found = frame(tmp_path, heif(brand, items, 7))
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_colours_are_those_of_the_primary_item(tmp_path, brand, order):
    """A gain map, or a version in HDR, has colours of its own."""
    other = coded_item(brand, np.full_like(PIXELS, 90), PQ)
    both = {1: coded_item(brand, PIXELS, SRGB), 2: other}
    found = frame(tmp_path, heif(brand, {number: both[number] for number in order}, 1))
    assert np.abs(found - PIXELS).mean() < 5
    in_hdr = {1: coded_item(brand, PIXELS, PQ), 2: coded_item(brand, PIXELS, SRGB)}
    converted = frame(tmp_path, heif(brand, {number: in_hdr[number] for number in order}, 1))
    assert np.abs(converted - PIXELS).mean() > 40


@pytest.mark.parametrize("brand", BRANDS)
@pytest.mark.parametrize("is_multiplied", [False, True])
def test_alpha_lies_on_white_also_where_colours_are_multiplied_by_it(tmp_path, brand, is_multiplied):
    colours = shown(RGB * ALPHA[..., None]) if is_multiplied else PIXELS
    picture = coded_item(brand, colours, SRGB)
    if is_multiplied:
        picture = Item(picture.kind, picture.data, picture.properties, [(b"prem", [2])])
    alpha = coded_item(brand, np.repeat(of_depth(ALPHA, 8)[..., None], 3, -1))
    auxiliary = box(b"auxC", struct.pack(">I", 0) + ALPHA_NAMES[brand])
    alpha = Item(alpha.kind, alpha.data, [*alpha.properties[:2], auxiliary], [(b"auxl", [1])])
    found = frame(tmp_path, heif(brand, {1: picture, 2: alpha}, 1))
    assert np.abs(found - shown(on_white(RGB, ALPHA))).mean() < 3


def test_the_tiles_of_a_grid_say_its_colours_if_it_does_not():
    tile = Item(b"hvc1", b"x", [size_box(8, 8), PQ])
    grid = Item(b"grid", b"y", [size_box(8, 8)], [(b"dimg", [2, 3])])
    assert primary_cicp(heif(b"heic", {1: grid, 2: tile, 3: tile}, 1)) == (9, 16, 6, 0x80)
    assert primary_cicp(heif(b"heic", {1: grid, 2: tile, 3: tile}, 3)) == (9, 16, 6, 0x80)
    assert primary_cicp(heif(b"heic", {1: Item(b"hvc1", b"x", [size_box(8, 8)]), 2: tile}, 1)) is None


WHOLE = heif(b"heic", {1: Item(b"grid", b"", [PQ], [(b"dimg", [2])]), 2: Item(b"hvc1", b"", [SRGB])}, 1)


@given(st.data())
def test_damaged_boxes_have_an_answer(data):
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    found = primary_cicp(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    assert found is None or len(found) == 4


@given(st.binary(max_size=200))
def test_any_bytes_have_an_answer(data):
    assert primary_cicp(data) is None or len(data) > 40
