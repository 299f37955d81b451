import io
import sys

import av
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import CorruptMedia, DecodeTimeout, ItemError, OutOfMemory, TooLarge, Unrecognised
from fuseid.encoders.decode_pool import DecodePool
from fuseid.encoders.extra_formats import EXTRAS
from fuseid.encoders.media import decode

from ..data.heic_files import heic  # noqa: TID252  (the tests are no package)
from ..data.hostile_bytes import box  # noqa: TID252
from .picture_values import ALPHA, GREY, RGB, of_depth, on_white, shown

PIXELS = shown(RGB)
FILES = {"HEIC": heic(PIXELS), "JPEG XL": imagecodecs.jpegxl_encode(PIXELS, lossless=True)}


def decoded(tmp_path, data: bytes, **config):
    path = tmp_path / "picture"
    path.write_bytes(data)
    return decode(str(path), "image", DecodeConfig(**config))


def off(found: np.ndarray, expected: np.ndarray) -> int:
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p", "yuv420p", "yuv420p10le", "yuv444p12le"])
def test_heic_is_shown_as_ffmpeg_shows_it(tmp_path, pixels):
    data = heic(PIXELS, pixels=pixels)
    with av.open(io.BytesIO(data)) as file:
        reference = next(file.decode(video=0)).to_ndarray(format="rgb24")
    found = decoded(tmp_path, data).frames[0]
    most = 3 if pixels.startswith("yuv444") else 5
    assert np.abs(found.astype(int) - reference).mean() < most
    assert np.abs(found.astype(int) - PIXELS).mean() < most


@pytest.mark.parametrize("mirror", [None, 0, 1])
@pytest.mark.parametrize("turns", range(4))
def test_heic_is_turned_and_mirrored_as_its_boxes_say_and_exif_is_ignored(tmp_path, turns, mirror):
    exif = Image.Exif()
    exif[0x0112] = 3
    expected = np.rot90(PIXELS, turns)
    if mirror is not None:
        expected = expected[::-1] if mirror == 0 else expected[:, ::-1]
    found = decoded(tmp_path, heic(PIXELS, turns=turns, mirror=mirror, exif=exif.tobytes()[6:]))
    assert (found.height, found.width) == expected.shape[:2]
    assert np.abs(found.frames[0].astype(int) - expected).mean() < 3


@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl_of_every_kind_of_sample_is_shown(tmp_path, container):
    # The library writes integers of 16 bits and floats as linear light.
    light = np.where(RGB <= 0.04045, RGB / 12.92, ((RGB + 0.055) / 1.055) ** 2.4)
    kinds = {
        "grey": (of_depth(GREY, 8), shown(GREY)),
        "grey and alpha": (of_depth(np.dstack([GREY, ALPHA]), 8), shown(on_white(GREY[..., None], ALPHA))),
        "colours": (PIXELS, PIXELS),
        "colours and alpha": (of_depth(np.dstack([RGB, ALPHA]), 8), shown(on_white(RGB, ALPHA))),
        "16 bits": (of_depth(light, 16), PIXELS),
        "floats": (light.astype(np.float32), PIXELS),
    }
    for name, (samples, expected) in kinds.items():
        data = imagecodecs.jpegxl_encode(samples, lossless=True, usecontainer=container)
        assert off(decoded(tmp_path, data).frames[0], expected) <= 2, name
    lossy = imagecodecs.jpegxl_encode(PIXELS, distance=1.0, usecontainer=container)
    assert np.abs(decoded(tmp_path, lossy).frames[0].astype(int) - PIXELS).mean() < 4


def test_a_jpeg_that_was_packed_as_jpeg_xl_shows_the_same(tmp_path):
    jpeg = imagecodecs.jpeg8_encode(PIXELS, level=97, subsampling="444")
    packed = imagecodecs.jpegxl_encode_jpeg(jpeg)
    assert off(decoded(tmp_path, packed).frames[0], decoded(tmp_path, jpeg).frames[0]) <= 4


def test_an_animation_gives_its_first_frame(tmp_path):
    moving = np.stack([PIXELS, 255 - PIXELS, PIXELS // 2])
    assert off(decoded(tmp_path, imagecodecs.jpegxl_encode(moving, lossless=True)).frames[0], PIXELS) <= 1


@pytest.mark.parametrize("format", EXTRAS)
def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch, format):
    extra, module = EXTRAS[format]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unrecognised, match=rf"picture' is not decoded: it is {format}: install .*'fuseid\[{extra}\]'"):
        decoded(tmp_path, FILES[format])


@pytest.mark.parametrize("format", EXTRAS)
def test_the_size_is_checked_before_any_pixel_is_decoded(tmp_path, format):
    with pytest.raises(TooLarge, match="48x24 pixels"):
        decoded(tmp_path, FILES[format], max_pixels=1000)


@pytest.mark.parametrize("format", EXTRAS)
def test_damaged_files_are_rejected_one_by_one(tmp_path, format):
    """In the pool's child, under its limits: cut anywhere, and with flipped bytes."""
    whole, random = FILES[format], np.random.default_rng(0)
    variants = [whole[: int(len(whole) * share)] for share in (0.05, 0.2, 0.5, 0.95)]
    for _ in range(20):
        data = np.frombuffer(whole, np.uint8).copy()
        data[random.integers(12, len(data), 4)] = random.integers(0, 256, 4)
        variants.append(data.tobytes())
    paths = []
    for number, data in enumerate([*variants, whole]):
        (tmp_path / f"{number}").write_bytes(data)
        paths.append((str(tmp_path / f"{number}"), "image"))
    with DecodePool(DecodeConfig(memory_bytes=256 << 20, timeout_seconds=10), workers=1) as pool:
        *results, good = pool.decode_many(paths)
    assert not isinstance(good, ItemError)
    assert all(isinstance(result, ItemError) for result in results[:3])
    errors = (CorruptMedia, TooLarge, Unrecognised, OutOfMemory, DecodeTimeout)
    assert all(isinstance(result, errors) for result in results if isinstance(result, ItemError))


def test_a_size_that_only_the_boxes_of_a_heic_claim_is_not_believed(tmp_path):
    data = heic(PIXELS)
    place = data.index(b"ispe") + 8
    larger = data[:place] + (60_000).to_bytes(4, "big") * 2 + data[place + 8 :]
    with pytest.raises(TooLarge, match="60000x60000"):
        decoded(tmp_path, larger)
    smaller = data[:place] + (8).to_bytes(4, "big") * 2 + data[place + 8 :]
    try:
        found = decoded(tmp_path, smaller)
    except CorruptMedia:
        return
    assert (found.width, found.height) in ((48, 24), (8, 8))


def test_a_heic_without_a_picture_is_corrupt(tmp_path):
    with pytest.raises(CorruptMedia):
        decoded(tmp_path, box(b"ftyp", b"heic\0\0\0\0mif1heic") + b"\0" * 200)
