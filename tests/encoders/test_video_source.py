"""A film's extent is that of its picture, whatever else its file holds; FFmpeg's own output is the reference."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.errors import TooLarge
from fuseid.encoders.media import decode
from fuseid.encoders.sampling import target_times

from ..data.hostile_bytes import box  # noqa: TID252  (the tests are no package)
from .films import H264, RATE, ffmpeg, picture, shown, sound

MPEG2 = ["-c:v", "mpeg2video", "-r", "25", "-g", "10", "-q:v", "2", "-c:a", "mp2"]
WMV = ["-c:v", "wmv2", "-g", "10", "-q:v", "2", "-c:a", "wmav2"]
THEORA = ["-c:v", "libtheora", "-g", "10", "-q:v", "8", "-c:a", "libvorbis"]
VP9 = ["-c:v", "libvpx-vp9", "-g", "10", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]
H263 = ["-s", "128x96", "-c:v", "h263", "-r", "30000/1001", "-q:v", "2", "-g", "10", "-c:a", "aac"]
FLV1 = ["-c:v", "flv", "-g", "10", "-q:v", "2", "-c:a", "mp3"]

FILM, LATE, LONG_SOUND = picture(4), ["-itsoffset", "10", *picture(4)], sound(12)
SUBTITLES = ["-i", "{subtitles}"]
BY_MP3, BY_MP2, BY_AAC = [*H264, "-c:a", "mp3"], [*H264, "-c:a", "mp2"], [*H264, "-c:a", "aac"]

# What is beside four seconds of picture, by the name of the file: FFmpeg's arguments.
FILMS: dict[str, list[str]] = {
    "subtitles.mkv": [*FILM, *SUBTITLES, *H264, "-c:s", "srt"],
    "subtitles.mp4": [*FILM, *SUBTITLES, *H264, "-c:s", "mov_text"],
    "subtitles.webm": [*FILM, *SUBTITLES, *VP9, "-c:s", "webvtt"],
    **{f"sound.{name}": [*FILM, *LONG_SOUND, *BY_AAC] for name in ("mkv", "mp4", "mov", "flv", "ts")},
    "sound-fragments.mp4": [*FILM, *LONG_SOUND, *BY_AAC, "-movflags", "frag_keyframe+empty_moov"],
    "sound.avi": [*FILM, *LONG_SOUND, *BY_MP3],
    "sound.m2ts": [*FILM, *LONG_SOUND, *BY_MP2],
    "sound.mpg": [*FILM, *LONG_SOUND, *MPEG2],
    "sound.wmv": [*FILM, *LONG_SOUND, *WMV],
    "sound.ogv": [*FILM, *LONG_SOUND, *THEORA],
    "sound.webm": [*FILM, *LONG_SOUND, *VP9],
    "sound-live.webm": [*FILM, *LONG_SOUND, *VP9, "-live", "1"],
    "sound.3gp": [*FILM, *LONG_SOUND, *H263],
    "sound-flv1.flv": [*FILM, *LONG_SOUND, *FLV1],
    **{f"late.{name}": [*LATE, *LONG_SOUND, *BY_AAC] for name in ("mkv", "mp4", "mov", "flv", "ts")},
    "late.webm": [*LATE, *LONG_SOUND, *VP9],
    "late.wmv": [*LATE, *LONG_SOUND, *WMV, "-fps_mode", "passthrough"],
    "late-sound.mkv": [*FILM, "-itsoffset", "10", *LONG_SOUND, *BY_AAC],
    "early-sound.mkv": ["-itsoffset", "-3", *LONG_SOUND, *FILM, *BY_AAC],
    "reordered.mkv": [*FILM, *LONG_SOUND, *BY_AAC, "-bf", "3", "-preset", "veryfast"],
    "reordered.ts": [*FILM, *LONG_SOUND, *BY_AAC, "-bf", "3", "-preset", "veryfast"],
    "reordered.avi": [*FILM, *LONG_SOUND, *BY_MP3, "-bf", "3", "-preset", "veryfast"],
    "reordered-mpeg4.avi": [*FILM, "-c:v", "mpeg4", "-bf", "2", "-g", "10", "-q:v", "2"],
    "reordered.mpg": [*FILM, *LONG_SOUND, *MPEG2, "-bf", "2"],
    "open-groups.mpg": [*FILM, *LONG_SOUND, *MPEG2, "-bf", "2", "-flags", "-cgop", "-b_strategy", "0"],
    "reordered.flv": [*FILM, *LONG_SOUND, *BY_AAC, "-bf", "3", "-preset", "veryfast"],
    **{f"slow.{name}": [*picture(60, rate=1), *H264, "-g", "250"] for name in ("mkv", "mp4", "avi", "flv", "ts")},
    "slower.mkv": [*picture(600, rate=0.1), *H264, "-g", "250"],
    "alone.mkv": [*FILM, *H264],
    "alone.mp4": [*FILM, *H264],
}
# These show each kind of container and of fault; the others are for the whole suite.
EVERYDAY = {
    "subtitles.mkv", "sound.mkv", "sound.mp4", "sound.flv", "sound.ts", "sound.avi", "sound.mpg", "sound.wmv",
    "sound.ogv", "sound.webm", "late.mkv", "late.ts", "reordered.ts", "reordered.avi", "slow.mkv", "slower.mkv",
    "slow.avi",
}  # fmt: skip
WAYS = [("keyframe", "pyav"), ("uniform", "decord"), ("keyframe", "decord"), ("fps", "auto")]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    subtitles = folder / "a.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:02,000\nhello\n\n2\n00:00:58,000 --> 00:01:00,000\nend\n")
    made: dict[str, tuple[Path, np.ndarray, np.ndarray]] = {}

    def get(name: str) -> tuple[Path, np.ndarray, np.ndarray]:
        if name not in made:
            ffmpeg(*(each.format(subtitles=subtitles) for each in FILMS[name]), folder / name)
            made[name] = (folder / name, *shown(folder / name))
        return made[name]

    return get


@pytest.mark.parametrize(
    "name", [name if name in EVERYDAY else pytest.param(name, marks=pytest.mark.slow) for name in FILMS]
)
def test_frames_are_spread_over_the_picture(film, name):
    path, reference, times = film(name)
    gap = times[-1] - times[-2]
    for method, decoder in WAYS:
        sampling = SamplingConfig(method=method, frames=8, fps=2.0)
        decoded = decode(str(path), "video", DecodeConfig(sampling=sampling, video_decoder=decoder))
        assert decoded.duration == pytest.approx(times[-1] + gap, abs=max(0.1, gap / 2)), (method, decoder)
        # decord's key frames are all that it takes under `keyframe`.
        assert len(decoded.frames) == 8 or (method, decoded.decoder) == ("keyframe", "decord")
        assert (np.diff(decoded.timestamps) > 0).all()
        claimed = [int(np.abs(times - at).argmin()) for at in decoded.timestamps]
        # Each frame is the one that FFmpeg shows at its time, and near the time that was wanted.
        for index, frame in zip(claimed, decoded.frames, strict=True):
            assert np.abs(reference[index].astype(int) - frame).mean() < 3, (method, decoder, index)
        if method != "keyframe":
            wanted = target_times(decoded.duration, sampling)
            assert np.abs(decoded.timestamps - wanted).max() <= gap, (method, decoder)


def test_frames_differ_enough_to_be_told_apart(film):
    _, reference, _ = film("alone.mkv")
    differences = np.abs(reference[1:].astype(int) - reference[:-1]).mean((1, 2, 3))
    assert differences.min() > 3


def test_frames_without_a_time_follow_at_the_usual_distance(tmp_path):
    """Of several small frames in one packet of a program stream, only the first has a time; after a seek, what FFmpeg
    guesses for the others is up to a frame off."""
    ffmpeg(*FILM, *H264, tmp_path / "small.mpg")
    reference, times = shown(tmp_path / "small.mpg")
    for method in ("keyframe", "uniform", "scene"):
        decoded = decode(str(tmp_path / "small.mpg"), "video", DecodeConfig(sampling=SamplingConfig(method=method)))
        assert len(decoded.frames) == 8
        for at, frame in zip(decoded.timestamps, decoded.frames, strict=True):
            found = np.abs(reference.astype(int) - frame).mean((1, 2, 3)).argmin()
            assert abs(times[found] - at) < 1.5 / RATE, (method, at)


def test_a_film_is_as_long_as_its_picture_for_the_limit(film):
    decode(str(film("sound.mkv")[0]), "video", DecodeConfig(max_duration_seconds=5))
    with pytest.raises(TooLarge, match="lasts 4 seconds"):
        decode(str(film("sound.mkv")[0]), "video", DecodeConfig(max_duration_seconds=3))


# Parts of a film of four seconds: (length, begin) in seconds, None for a pause.
EDITS = {
    "all": [(4, 0)],
    "a part": [(1.5, 1.2)],
    "after a pause": [(1, None), (4, 0)],
    "a part after a pause": [(2, None), (1, 1.25)],
    "two parts": [(1, 0), (1, 3)],
    "less than a group of pictures": [(0.5, 0)],
}


@pytest.mark.parametrize("name", EDITS)
def test_what_an_edit_list_hides_is_not_part_of_the_film(film, tmp_path, name):
    path = with_edits(film("alone.mp4")[0], tmp_path / "edited.mp4", EDITS[name])
    reference, times = shown(path)
    for method, decoder in WAYS:
        sampling = SamplingConfig(method=method, frames=4, fps=2.0)
        decoded = decode(str(path), "video", DecodeConfig(sampling=sampling, video_decoder=decoder))
        assert decoded.duration == pytest.approx(times[-1] + 1 / RATE, abs=0.1), (method, decoder)
        for at, frame in zip(decoded.timestamps, decoded.frames, strict=True):
            shown_then = reference[np.abs(times - at).argmin()]
            assert np.abs(shown_then.astype(int) - frame).mean() < 3, (method, decoder, at)


def with_edits(source: Path, target: Path, edits: list[tuple[float, float | None]]) -> Path:
    """A copy of an MP4 whose header is at its end, with this list in the place of its own."""
    data = bytearray(source.read_bytes())
    (of_film,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
    (of_track,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    entries = [
        struct.pack(">IiI", int(length * of_film), -1 if begin is None else int(begin * of_track), 1 << 16)
        for length, begin in edits
    ]
    made = box(b"elst", struct.pack(">II", 0, len(entries)), *entries)
    place = data.index(b"elst") - 4
    (length,) = struct.unpack_from(">I", data, place)
    data[place : place + length] = made
    for name in (b"moov", b"trak", b"edts"):
        at = data.index(name) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(made) - length)
    target.write_bytes(data)
    return target
