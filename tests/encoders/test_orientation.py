"""Every orientation that a file can ask for is shown as FFmpeg shows it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.records import Decoded
from fuseid.encoders.media import decode
from fuseid.encoders.orientation import Orientation, from_display_matrix

from .films import H264, ffmpeg, picture, shown, with_matrix

# a, b, c, d of the display matrix: the stored pixel (x, y) is shown at (a x + c y, b x + d y).
MATRICES = {
    "as stored": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (-1, 0, 0, -1),
    "flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "clockwise": (0, 1, -1, 0),
    "transposed over the other diagonal": (0, -1, -1, 0),
    "counter-clockwise": (0, -1, 1, 0),
}
# More than the eight: scaled, and mapped to a line.
OTHERS = {
    "scaled": (-2, 0, 0, 0.5),
    "scaled and turned": (0, 0.5, -3, 0),
    "a line": (0, -1, 0, -1),
    "nothing": (0, 0, 0, 0),
}
WAYS = [("mp4", "pyav"), ("mp4", "decord"), ("mov", "pyav"), ("mkv", "pyav"), ("mkv", "decord"), ("frag.mp4", "pyav")]


def first_frame(path: Path, decoder: str) -> Decoded:
    sampling = SamplingConfig(method="fps", frames=1)
    return decode(str(path), "video", DecodeConfig(sampling=sampling, video_decoder=decoder))


def assert_shown_as_by_ffmpeg(path: Path, decoder: str) -> None:
    reference = shown(path)[0][0]
    decoded = first_frame(path, decoder)
    assert decoded.frames[0].shape == reference.shape
    assert (decoded.height, decoded.width) == reference.shape[:2]
    assert np.abs(decoded.frames[0].astype(int) - reference).max() <= 2


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict[str, Path]:
    """The same frames in each container, with no orientation."""
    folder = tmp_path_factory.mktemp("stored")
    paths = {name: folder / f"stored.{name}" for name in ("mp4", "mov", "frag.mp4")}
    for name, path in paths.items():
        flags = ["-movflags", "frag_keyframe+empty_moov"] if name == "frag.mp4" else []
        ffmpeg(*picture(0.5), *H264, *flags, path)
    return paths


@pytest.mark.parametrize(("container", "decoder"), WAYS)
@pytest.mark.parametrize("matrix", {**MATRICES, **OTHERS}.values(), ids={**MATRICES, **OTHERS})
def test_a_display_matrix_is_applied_as_ffmpeg_applies_it(stored, tmp_path, matrix, container, decoder):
    source = "mp4" if container == "mkv" else container
    path = with_matrix(stored[source], tmp_path / f"turned.{source}", matrix)
    if container == "mkv":  # FFmpeg writes the matrix as yaw and roll
        ffmpeg("-i", path, "-c", "copy", tmp_path / "turned.mkv")
        path = tmp_path / "turned.mkv"
    assert_shown_as_by_ffmpeg(path, decoder)


@pytest.mark.parametrize("flip", ["", ":flip=horizontal", ":flip=vertical"])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_the_orientation_in_an_h264_stream_is_applied(stored, tmp_path, turn, flip):
    path = tmp_path / "turned.ts"
    orient = f"h264_metadata=display_orientation=insert:rotate={turn}{flip}"
    ffmpeg("-i", stored["mp4"], "-c", "copy", "-bsf:v", orient, path)
    assert_shown_as_by_ffmpeg(path, "pyav")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_in_the_exif_of_motion_jpeg_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    still = Image.fromarray(pixels).resize((64, 48), Image.Resampling.NEAREST)
    still.save(tmp_path / "still.jpg", exif=exif, quality=95)
    ffmpeg("-i", tmp_path / "still.jpg", "-c", "copy", tmp_path / "camera.avi")
    assert_shown_as_by_ffmpeg(tmp_path / "camera.avi", "pyav")


@pytest.mark.parametrize("name", MATRICES)
def test_the_eight_orientations_are_all_different(name):
    frame = np.arange(6).reshape(2, 3, 1)
    pictures = {key: matrix_of(MATRICES[key]).apply(frame) for key in MATRICES}
    assert [key for key in MATRICES if np.array_equal(pictures[key], pictures[name])] == [name]


def matrix_of(matrix: tuple[float, ...]) -> Orientation:
    a, b, c, d = (round(value * 65536) for value in matrix)
    return from_display_matrix(struct.pack("=9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))


@given(st.binary(max_size=40))
def test_any_bytes_mean_one_of_the_eight(matrix):
    assert from_display_matrix(matrix).apply(np.zeros((2, 3, 1))).shape in ((2, 3, 1), (3, 2, 1))
