"""Borders that a container or a stream cuts off, and Dolby Vision, as FFmpeg's own command shows them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.errors import CorruptMedia
from fuseid.encoders.media import decode

from ..data.hostile_bytes import box  # noqa: TID252  (the tests are no package)
from .films import H264, SAMPLES, ffmpeg, picture, shown, with_box, with_matrix

WAYS = (("keyframe", "pyav"), ("uniform", "decord"), ("scene", "auto"))
# Width, height, and twice the offset of the centre, of what is shown of 64 x 48.
CROPS = {
    "corner": (32, 24, -16, 12),
    "odd": (33, 25, -15, 11),
    "one pixel": (1, 1, 0, 0),
    "everything": (64, 48, 0, 0),
    "more than there is": (100, 100, 0, 0),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "stored.mp4"
    ffmpeg(*picture(1), *H264, path)
    return path


def cropped(source: Path, target: Path, width: int, height: int, across: int, down: int) -> Path:
    clap = box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, across, 2, down, 2))
    return with_box(source, target, 0, (*SAMPLES, b"avc1"), clap)


def assert_shown_as_by_ffmpeg(path: Path) -> None:
    reference, times = shown(path)
    for method, decoder in WAYS:
        config = DecodeConfig(sampling=SamplingConfig(method=method, frames=3), video_decoder=decoder)
        decoded = decode(str(path), "video", config)
        assert decoded.frames.shape[1:] == reference.shape[1:], (method, decoder)
        assert (decoded.height, decoded.width) == reference.shape[1:3]
        for at, frame in zip(decoded.timestamps, decoded.frames, strict=True):
            index = np.abs(times - at).argmin()
            # At an odd border, colours of 2 x 2 pixels depend on the filter.
            assert np.abs(frame.astype(int) - reference[index]).mean() < 8, (method, decoder)


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_borders_that_the_container_cuts_off_are_not_shown(stored, tmp_path, container, name):
    path = cropped(stored, tmp_path / "cropped.mp4", *CROPS[name])
    if container != "mp4":
        ffmpeg("-i", path, "-c", "copy", tmp_path / f"cropped.{container}")
        path = tmp_path / f"cropped.{container}"
    assert_shown_as_by_ffmpeg(path)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, 1)])
def test_borders_are_those_of_the_stored_frame(stored, tmp_path, matrix):
    turned = with_matrix(stored, tmp_path / "turned.mp4", matrix)
    assert_shown_as_by_ffmpeg(cropped(turned, tmp_path / "cropped.mp4", *CROPS["corner"]))


@pytest.mark.parametrize("left", [2, 16, 32])
@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
def test_borders_that_the_stream_cuts_off_are_not_shown(stored, tmp_path, container, left):
    cut = f"h264_metadata=crop_left={left}:crop_top=8"
    ffmpeg("-i", stored, "-c", "copy", "-bsf:v", cut, tmp_path / f"film.{container}")
    assert_shown_as_by_ffmpeg(tmp_path / f"film.{container}")


def dolby_vision(folder: Path, container: str, profile: int, others_see: int) -> Path:
    """A plain film that says it is Dolby Vision."""
    ffmpeg(*picture(0.3), "-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1", folder / "plain.mp4")
    record = bytes([1, 0]) + struct.pack(">HB", profile << 9 | 1 << 3 | 0b101, others_see << 4) + bytes(19)
    name = b"dvcC" if profile <= 7 else b"dvvC"
    path = with_box(folder / "plain.mp4", folder / "film.mp4", 0, (*SAMPLES, b"hvc1"), box(name, record))
    if container == "mp4":
        return path
    ffmpeg("-i", path, "-c", "copy", folder / f"film.{container}")
    return folder / f"film.{container}"


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_dolby_vision_that_nothing_else_can_show_is_refused(tmp_path, container):
    with pytest.raises(CorruptMedia, match=r"colours that FFmpeg cannot convert to RGB \(Dolby Vision of profile 5"):
        decode(str(dolby_vision(tmp_path, container, 5, 0)), "video", DecodeConfig())


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize(("profile", "others_see"), [(7, 6), (8, 1), (8, 2), (8, 4)])
def test_the_base_layer_of_other_dolby_vision_is_shown(tmp_path, container, profile, others_see):
    assert_shown_as_by_ffmpeg(dolby_vision(tmp_path, container, profile, others_see))
