"""Which of several video tracks is decoded: each track is of one colour."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.errors import CorruptMedia
from fuseid.encoders.media import decode

from ..data.hostile_bytes import box  # noqa: TID252  (the tests are no package)
from .films import H264, ffmpeg, sound, with_box

LARGE, SMALL = "128x96", "64x48"


def track(colour: str, size: str = SMALL, seconds: float = 1) -> list[str]:
    return ["-f", "lavfi", "-i", f"color={colour}:s={size}:r=10:d={seconds}"]


def tracks(*colours_and_sizes: tuple[str, str]) -> list[str]:
    """Inputs, and a mapping of all of them."""
    inputs = [word for colour, size in colours_and_sizes for word in track(colour, size)]
    return [*inputs, *(word for index in range(len(colours_and_sizes)) for word in ("-map", str(index)))]


def default(index: int, *others: int) -> list[str]:
    flags = [word for other in others for word in (f"-disposition:{other}", "0")]
    return [*flags, f"-disposition:{index}", "default"]


RED_BLUE = tracks(("red", SMALL), ("blue", LARGE))
BLUE_RED = tracks(("blue", LARGE), ("red", SMALL))
STILL_FILM = [*track("red", LARGE, seconds=0.1), *track("blue"), "-map", "0", "-map", "1"]
COVER = [*STILL_FILM, "-c:v:0", "mjpeg", "-c:v:1", "libx264", *H264[2:]]
TS = ["-program", "title=a:st=0", "-program", "title=b:st=1"]

# FFmpeg's arguments; the blue track is the film.
FILES: dict[str, list[str]] = {
    # No track or every track is a default: the largest.
    "largest-second.mkv": [*RED_BLUE, *H264, "-disposition", "0"],
    "largest-first.mkv": [*BLUE_RED, *H264, "-disposition", "0"],
    "largest-second.mp4": [*RED_BLUE, *H264, "-disposition", "default"],
    "largest-first.mp4": [*BLUE_RED, *H264, "-disposition", "default"],
    "largest.ts": [*RED_BLUE, *H264],
    "programs.ts": [*RED_BLUE, *H264, *TS],
    "largest.avi": [*RED_BLUE, *H264],
    "largest.asf": [*RED_BLUE, "-c:v", "wmv2"],
    "largest.mpg": [*RED_BLUE, "-c:v", "mpeg2video", "-r", "25"],
    # Of equal ones, the first.
    "equal.mp4": [*tracks(("blue", SMALL), ("red", SMALL)), *H264, "-disposition", "default"],
    # The default, although it is smaller.
    "default-first.mkv": [*tracks(("blue", SMALL), ("red", LARGE)), *H264, *default(0, 1)],
    "default-second.mkv": [*tracks(("red", LARGE), ("blue", SMALL)), *H264, *default(1, 0)],
    "default-second.mp4": [*tracks(("red", LARGE), ("blue", SMALL)), *H264, *default(1, 0)],
    "default-second.mov": [*tracks(("red", LARGE), ("blue", SMALL)), *H264, *default(1, 0)],
    "default-second.webm": [
        *tracks(("red", LARGE), ("blue", SMALL)),
        "-c:v",
        "libvpx",
        "-cpu-used",
        "8",
        *default(1, 0),
    ],
    # A picture never, although it is larger, comes first, and may say that it is a default.
    "cover.mp4": [*COVER, "-disposition:0", "attached_pic"],
    "cover.m4v": [*COVER, "-disposition:0", "attached_pic"],
    "preview.mov": [*COVER, "-disposition", "default"],
    "preview.avi": COVER,
}


@pytest.mark.parametrize("name", FILES)
def test_both_decoders_show_the_same_track(tmp_path, name):
    ffmpeg(*FILES[name], tmp_path / name)
    for method, decoder in (("keyframe", "pyav"), ("uniform", "pyav"), ("uniform", "decord")):
        assert colour_of(tmp_path / name, method, decoder) == "blue", (method, decoder)


def colour_of(path: Path, method: str, decoder: str) -> str:
    config = DecodeConfig(sampling=SamplingConfig(method=method, frames=3), video_decoder=decoder)
    red, _, blue = decode(str(path), "video", config).frames.mean((0, 1, 2))
    return "red" if red > 200 and blue < 50 else "blue" if blue > 200 and red < 50 else f"{red:.0f}, {blue:.0f}"


def test_an_attached_picture_of_matroska_is_not_the_film(tmp_path):
    ffmpeg(*track("red", LARGE), "-frames:v", "1", tmp_path / "cover.jpg")
    attached = ["-attach", tmp_path / "cover.jpg", "-metadata:s:1", "mimetype=image/jpeg"]
    ffmpeg(*track("blue"), *H264, *attached, tmp_path / "film.mkv")
    for decoder in ("pyav", "decord"):
        assert colour_of(tmp_path / "film.mkv", "uniform", decoder) == "blue"


def test_a_song_with_a_cover_is_not_a_film(tmp_path):
    ffmpeg(*track("red", LARGE), "-frames:v", "1", tmp_path / "cover.jpg")
    inputs = [*sound(1), "-i", tmp_path / "cover.jpg", "-map", "0", "-map", "1"]
    ffmpeg(*inputs, "-c:v", "copy", "-disposition:v", "attached_pic", tmp_path / "song.mp4")
    with pytest.raises(CorruptMedia, match="no video stream"):
        decode(str(tmp_path / "song.mp4"), "video", DecodeConfig())


@pytest.mark.parametrize("film", [0, 1])
def test_thumbnails_along_the_time_line_are_not_the_film(tmp_path, film):
    """A film names the track of its thumbnails as that of its chapters."""
    pair = [("red", LARGE), ("red", LARGE)]
    pair[film] = ("blue", SMALL)
    ffmpeg(*tracks(*pair), *H264, "-disposition", "default", tmp_path / "both.mp4")
    names = box(b"tref", box(b"chap", struct.pack(">I", 2 - film)))
    with_box(tmp_path / "both.mp4", tmp_path / "film.mp4", film, (), names)
    for decoder in ("pyav", "decord"):
        assert colour_of(tmp_path / "both.mp4", "uniform", decoder) == "red"
        assert colour_of(tmp_path / "film.mp4", "uniform", decoder) == "blue"


@pytest.mark.parametrize("handler", [b"auxv", b"pict"])
@pytest.mark.parametrize("film", [0, 1])
def test_a_track_that_its_container_does_not_call_a_film_is_not_the_film(tmp_path, film, handler):
    """Depth and alpha are tracks like films, and FFmpeg takes them for such."""
    pair = [("red", LARGE), ("red", LARGE)]
    pair[film] = ("blue", SMALL)
    ffmpeg(*tracks(*pair), *H264, "-disposition", "default", tmp_path / "both.mp4")
    parts = (tmp_path / "both.mp4").read_bytes().split(b"hdlr" + bytes(8) + b"vide")
    assert len(parts) == 3
    names = [b"hdlr" + bytes(8) + (b"vide" if index == film else handler) for index in (0, 1)]
    (tmp_path / "film.mp4").write_bytes(parts[0] + names[0] + parts[1] + names[1] + parts[2])
    for decoder in ("pyav", "decord"):
        assert colour_of(tmp_path / "both.mp4", "uniform", decoder) == "red"
        assert colour_of(tmp_path / "film.mp4", "uniform", decoder) == "blue"


def test_a_track_of_an_unknown_codec_is_not_chosen(tmp_path):
    ffmpeg(*RED_BLUE, *H264, *default(0, 1), tmp_path / "both.mp4")
    data = (tmp_path / "both.mp4").read_bytes()
    assert data.count(b"avc1\0\0") == 2
    (tmp_path / "both.mp4").write_bytes(data.replace(b"avc1\0\0", b"zzzz\0\0", 1))
    assert colour_of(tmp_path / "both.mp4", "uniform", "decord") == "blue"
    assert np.isfinite(decode(str(tmp_path / "both.mp4"), "video", DecodeConfig()).duration)
