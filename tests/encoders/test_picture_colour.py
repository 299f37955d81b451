import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from fuseid.core.config import DecodeConfig
from fuseid.encoders.media import decode
from fuseid.encoders.picture_colour import from_cicp, srgb_curve, to_srgb

from ..data.heic_files import heic  # noqa: TID252  (the tests are no package)
from ..data.hostile_bytes import chunk, saved  # noqa: TID252  (the tests are no package)
from .picture_values import ALPHA, GREY, RGB, of_depth, on_white, shown

D65, D50 = (0.3127, 0.3290, 1.0), (0.3457, 0.3585, 1.0)
P3 = [0.680, 0.320, 1.0, 0.265, 0.690, 1.0, 0.150, 0.060, 1.0]
ADOBE = [0.640, 0.330, 1.0, 0.210, 0.710, 1.0, 0.150, 0.060, 1.0]
PROPHOTO = [0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0]
PROFILES = {
    "Display P3": imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=P3, gamma=2.2),
    "Adobe RGB": imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=ADOBE, gamma=563 / 256),
    "ProPhoto RGB": imagecodecs.cms_profile("rgb", whitepoint=D50, primaries=PROPHOTO, gamma=1.8),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PICTURE = Image.fromarray(shown(0.1 + 0.8 * RGB))


def in_space(picture: Image.Image, profile: bytes) -> Image.Image:
    target = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    found = ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), target, outputMode="RGB")
    assert found is not None
    return found


def frame(tmp_path, data: bytes) -> np.ndarray:
    (tmp_path / "p").write_bytes(data)
    return decode(str(tmp_path / "p"), "image", DecodeConfig()).frames[0].astype(int)


def off(found: np.ndarray, expected: Image.Image | np.ndarray) -> int:
    return int(np.abs(found - np.asarray(expected)).max())


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(
    ("format", "how", "tolerance"),
    [
        ("PNG", {}, 8),
        ("TIFF", {}, 8),
        ("WEBP", {"lossless": True}, 8),
        ("JPEG", {"quality": 97, "subsampling": 0}, 24),
        ("AVIF", {"quality": 97, "subsampling": "4:4:4"}, 44),
    ],
)
def test_a_wide_gamut_becomes_srgb(tmp_path, name, format, how, tolerance):
    stored = in_space(PICTURE, PROFILES[name])
    assert off(np.asarray(stored).astype(int), PICTURE) > 20
    found = frame(tmp_path, saved(format, stored, icc_profile=PROFILES[name], **how))
    assert off(found, PICTURE) <= tolerance
    assert np.abs(found - np.asarray(PICTURE)).mean() < 3


def test_display_p3_is_what_its_primaries_say():
    """By the matrices of the two spaces, without a colour management library."""
    profile = PROFILES["Display P3"]
    stored = np.array([[[200, 60, 40], [30, 180, 90], [128, 128, 128]]], np.uint8)
    light = (stored / 255) ** 2.2
    matrix = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    expected = np.round(255 * srgb_curve((light @ matrix.T).clip(0, 1)))
    found = np.asarray(to_srgb(Image.fromarray(stored), profile)).astype(int)
    assert np.abs(found - expected).max() <= 2


def test_pictures_that_are_srgb_keep_their_bits(tmp_path):
    plain = saved("PNG", PICTURE)
    same = saved("PNG", PICTURE, icc_profile=SRGB)
    assert off(frame(tmp_path, same), PICTURE) == off(frame(tmp_path, plain), PICTURE) == 0


def test_a_profile_that_cannot_be_used_is_ignored(tmp_path):
    grey_profile = imagecodecs.cms_profile("gray", gamma=1.0)
    for profile in (b"no profile", PROFILES["Adobe RGB"][:200], grey_profile, b""):
        assert off(frame(tmp_path, saved("PNG", PICTURE, icc_profile=profile)), PICTURE) == 0
    grey = PICTURE.convert("L")
    found = frame(tmp_path, saved("PNG", grey, icc_profile=PROFILES["Adobe RGB"]))
    assert off(found, np.repeat(np.asarray(grey)[..., None], 3, -1)) == 0


def test_transparency_survives_the_conversion(tmp_path):
    profile = PROFILES["ProPhoto RGB"]
    stored = in_space(PICTURE, profile)
    stored.putalpha(Image.fromarray(of_depth(ALPHA, 8)))
    expected = shown(on_white(np.asarray(PICTURE) / 255, ALPHA))
    assert off(frame(tmp_path, saved("PNG", stored, icc_profile=profile)), expected) <= 4


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_of_another_gamma_is_converted(tmp_path, mode):
    profile = imagecodecs.cms_profile("gray", whitepoint=D50, gamma=1.0)
    picture = Image.fromarray(of_depth(GREY, 8))
    expected = shown(srgb_curve(of_depth(GREY, 8) / 255))
    if mode == "LA":
        picture.putalpha(Image.fromarray(of_depth(ALPHA, 8)))
        expected = shown(on_white(expected / 255, ALPHA))
    assert off(frame(tmp_path, saved("PNG", picture, icc_profile=profile)), expected) <= 3


def ink_profile() -> bytes:
    """A press (class `prtr`, CMYK to Lab by a table of 2 points per ink) on which 100% black is mid-grey."""
    table = b"".join(
        bytes([255 - 40 * (c + m + y) - 120 * k, 128, 128])
        for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    )  # fmt: skip
    straight = bytes(range(256))
    head = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    body = head + straight * 4 + table + straight * 3
    tags = {b"A2B0": body, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 6) + b"press\0".ljust(84, b"\0")
    tags[b"cprt"] = b"text\0\0\0\0none"
    place, entries, data = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        value = value.ljust(-(-len(value) // 4) * 4, b"\0")
        entries += name + struct.pack(">II", place + len(data), len(value))
        data += value
    size = place + len(data)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + data


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_inks_are_shown_as_their_profile_says(tmp_path, format):
    black = Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    assert frame(tmp_path, saved(format, black)).max() <= 3
    # Lightness 135 of 255.
    found = frame(tmp_path, saved(format, black, icc_profile=ink_profile()))
    assert np.abs(found - 126).max() <= 4


def coded(light: np.ndarray, transfer: int) -> np.ndarray:
    """Light in BT.2020, 1 for SDR white at 203 cd/m2, as uint8 of PQ (ST 2084) or HLG (BT.2100) at 1000 cd/m2."""
    nits = 203 * light
    if transfer == 16:
        powered = (nits / 10_000) ** 0.1593017578125
        values = ((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375
    else:
        luminance = (nits @ [0.2627, 0.6780, 0.0593])[..., None].clip(1e-6)
        scene = nits / 1000 * (luminance / 1000) ** (1 / 1.2 - 1)
        values = np.where(
            scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
        )
    return np.round(255 * values.clip(0, 1)).astype(np.uint8)


@pytest.mark.parametrize(("transfer", "tolerance"), [(16, 18), (18, 14)], ids=["PQ", "HLG"])
def test_hdr_looks_like_sdr_up_to_its_white(tmp_path, transfer, tolerance):
    values = np.asarray(PICTURE) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    to_2020 = np.linalg.inv([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
    stored = coded((light @ to_2020.T).clip(0), transfer)
    png = saved("PNG", Image.fromarray(stored))
    named = png[:33] + chunk(b"cICP", bytes([9, transfer, 0, 1])) + png[33:]
    assert off(frame(tmp_path, png), PICTURE) > 40
    assert off(frame(tmp_path, named), PICTURE) <= tolerance
    assert off(frame(tmp_path, heic(stored, cicp=(9, transfer, 6))), PICTURE) <= 3 * tolerance
    highlight = Image.new("RGB", (8, 8), (240, 240, 240))
    png = saved("PNG", highlight)
    assert frame(tmp_path, png[:33] + chunk(b"cICP", bytes([9, transfer, 0, 1])) + png[33:]).min() >= 254


def test_an_avif_names_its_colours_by_number(tmp_path):
    avif = saved("AVIF", PICTURE, quality=97, subsampling="4:4:4")
    place = avif.index(b"colrnclx") + 8
    assert struct.unpack(">HHH", avif[place : place + 6])[:2] in ((1, 13), (2, 2))
    named = avif[:place] + struct.pack(">HH", 12, 13) + avif[place + 4 :]
    matrix = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    values = frame(tmp_path, avif) / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ matrix.T
    assert off(frame(tmp_path, named), shown(srgb_curve(light.clip(0, 1)))) <= 6


def test_the_numbers_of_a_png_have_priority_over_its_profile(tmp_path):
    png = saved("PNG", PICTURE)
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(PROFILES["ProPhoto RGB"]))
    both = png[:33] + chunk(b"cICP", bytes([1, 13, 0, 1])) + profile + png[33:]
    assert off(frame(tmp_path, both), PICTURE) == 0


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("transfer", [8, 16, 18], ids=["linear", "PQ", "HLG"])
def test_every_kind_of_png_in_hdr_is_converted(tmp_path, mode, transfer):
    grey = Image.fromarray(of_depth(0.6 * GREY, 8))
    picture = Image.fromarray(of_depth(0.6 * GREY, 16)) if mode == "I;16" else grey.convert(mode)
    png = saved("PNG", picture)
    found = frame(tmp_path, png[:33] + chunk(b"cICP", bytes([9, transfer, 0, 1])) + png[33:])
    expected = from_cicp(np.asarray(grey.convert("RGB")), 9, transfer).astype(int)
    assert np.abs(expected - np.asarray(grey.convert("RGB"))).max() > 10
    assert off(found, expected) <= 2


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_png_whose_black_is_16_is_stretched(tmp_path, mode):
    picture = PICTURE.convert("RGB" if mode == "RGBA" else mode)
    narrow = Image.fromarray(np.round(16 + np.asarray(picture) * (219 / 255)).astype(np.uint8))
    expected = np.asarray(picture.convert("RGB")).astype(int)
    if mode == "RGBA":
        narrow.putalpha(Image.fromarray(of_depth(ALPHA, 8)))
        expected = shown(on_white(expected / 255, ALPHA)).astype(int)
    png = saved("PNG", narrow)
    assert off(frame(tmp_path, png[:33] + chunk(b"cICP", bytes([1, 13, 0, 0])) + png[33:]), expected) <= 2
