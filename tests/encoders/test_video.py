import io
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.errors import CorruptMedia, ItemError, TooLarge, Unrecognised
from fuseid.encoders import video_pyav
from fuseid.encoders.media import decode
from fuseid.encoders.media_file import hash_bytes
from fuseid.encoders.video_frames import to_rgb

from .conftest import read_number, turn_mp4


def config(method: str = "keyframe", frames: int = 4, decoder: str = "auto", **how) -> DecodeConfig:
    sampling = SamplingConfig(method=method, frames=frames, fps=how.pop("fps", 1.0))
    return DecodeConfig(sampling=sampling, video_decoder=decoder, **how)


def numbers(path: Path, settings: DecodeConfig) -> list[int]:
    return [read_number(frame) for frame in decode(str(path), "video", settings).frames]


def nearest(times: list[float], targets: list[float]) -> list[int]:
    return [int(np.abs(np.array(times) - target).argmin()) for target in targets]


def test_a_plain_video_has_its_size_duration_and_hash(plain_mp4):
    decoded = decode(str(plain_mp4), "video", config(long_side=160, thumbnail_side=40))
    assert decoded.frames.shape == (4, 120, 160, 3)
    assert (decoded.width, decoded.height, decoded.decoder) == (320, 240, "pyav")
    assert decoded.duration == pytest.approx(3.0, abs=0.05)
    assert decoded.media_hash == hash_bytes(plain_mp4.read_bytes())
    assert Image.open(io.BytesIO(decoded.thumbnail)).size == (40, 30)
    assert np.abs(decoded.frames[0, 90, 40].astype(int) - (200, 30, 30)).max() <= 12


def test_keyframe_takes_the_key_frame_nearest_each_moment(plain_mp4):
    # Targets 0.75 and 2.25 s, key frames at 0, 1 and 2 s: the nearest are the one after and the one before.
    decoded = decode(str(plain_mp4), "video", config(frames=2))
    assert [read_number(frame) for frame in decoded.frames] == [30, 60]
    assert decoded.timestamps == pytest.approx([1, 2], abs=0.001)


def test_keyframe_goes_on_from_the_key_frame_where_there_are_too_few(video):
    path = video(count=90, gop=300)
    decoded = decode(str(path), "video", config(frames=4))
    found = [read_number(frame) for frame in decoded.frames]
    assert found == [0, 34, 56, 79]  # one key frame; the other moments (1.125, 1.875, 2.625 s) are reached by decoding
    assert decoded.timestamps == pytest.approx(np.array(found) / 30, abs=0.02)


def test_the_frames_decoded_after_a_key_frame_are_bounded(video, monkeypatch):
    monkeypatch.setattr(video_pyav, "ONWARD_FRAMES", 30)
    found = numbers(video(count=90, gop=300), config(frames=4))
    assert found[0] == 0
    assert len(set(found)) == 4
    assert max(found) <= 32


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_uniform_takes_the_frame_nearest_each_moment(plain_mp4, decoder):
    decoded = decode(str(plain_mp4), "video", config("uniform", 6, decoder))
    expected = nearest([i / 30 for i in range(90)], [0.25, 0.75, 1.25, 1.75, 2.25, 2.75])
    assert np.abs(np.array([read_number(frame) for frame in decoded.frames]) - expected).max() <= 1
    assert decoded.decoder == decoder
    assert decoded.timestamps * 30 == pytest.approx([read_number(frame) for frame in decoded.frames], abs=0.1)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
def test_fps_takes_frames_at_the_given_rate(plain_mp4, decoder):
    # The container counts 3.03 seconds, so a moment falls on 3.0 too: the last frame is nearest.
    decoded = decode(str(plain_mp4), "video", config("fps", 16, decoder, fps=2))
    assert [read_number(frame) for frame in decoded.frames] == [0, 15, 30, 45, 60, 75, 89]
    assert decoded.timestamps == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 89 / 30], abs=0.01)


def test_key_frames_of_a_variable_frame_rate_have_their_true_times(video):
    times = [i / 60 for i in range(60)] + [1 + i / 4 for i in range(36)]
    # Key frames at 0, 0.17 ... 1.0, 3.5, 6.0 and 8.5 seconds; moments near 1.6, 4.9 and 8.2.
    decoded = decode(str(video("v.mkv", times=times, gop=10)), "video", config(frames=3))
    found = [read_number(frame) for frame in decoded.frames]
    assert found == [60, 80, 90]
    assert decoded.timestamps == pytest.approx([times[number] for number in found], abs=0.003)


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p10le", "gray"])
def test_pixel_formats_are_converted(video, pixels):
    assert numbers(video("v.mkv", pixels=pixels, count=31), config("uniform", 2, "pyav")) in ([7, 23], [8, 23])


def test_an_odd_size_is_kept(video):
    path = video("v.mp4", size=(321, 181), pixels="yuv444p", count=10)
    assert decode(str(path), "video", config()).frames.shape[1:] == (181, 321, 3)


@pytest.mark.parametrize("method", ["keyframe", "uniform"])
@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
    ids=["clockwise", "upside-down", "counter-clockwise"],
)
def test_the_display_matrix_is_applied(plain_mp4, tmp_path, matrix, turns, method):
    turned = turn_mp4(plain_mp4, tmp_path / "turned.mp4", matrix)
    straight = decode(str(plain_mp4), "video", config(method, 2))
    decoded = decode(str(turned), "video", config(method, 2))
    expected = np.rot90(straight.frames, turns, axes=(1, 2))
    assert decoded.frames.shape == expected.shape
    assert (decoded.width, decoded.height) == (expected.shape[2], expected.shape[1])
    assert np.abs(decoded.frames.astype(int) - expected).mean() < 3


def test_pixels_that_are_not_square_are_stretched(video):
    decoded = decode(str(video(pixel_aspect=Fraction(2, 1), count=10)), "video", config(long_side=320))
    assert (decoded.width, decoded.height) == (640, 240)
    assert decoded.frames.shape[1:] == (120, 320, 3)


def test_a_video_with_fewer_frames_gives_all_of_them(video):
    assert numbers(video(count=3), config("uniform", 8)) == [0, 1, 2]
    assert numbers(video(count=3), config("keyframe", 8)) == [0, 1, 2]


def make_sound(path: Path) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, index * 1024
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def test_a_file_with_sound_alone_is_refused(tmp_path):
    with pytest.raises(CorruptMedia, match="no video stream"):
        decode(str(make_sound(tmp_path / "song.mp4")), "video", config())


@pytest.mark.parametrize("method", ["keyframe", "uniform"])
def test_a_video_damaged_in_the_middle_gives_its_intact_frames(plain_mp4, tmp_path, method):
    data = bytearray(plain_mp4.read_bytes())
    start = data.index(b"mdat") + 8
    length = data.index(b"moov") - start
    for place in range(start + length // 3, start + length // 2):
        data[place] = 0xA5
    (tmp_path / "damaged.mp4").write_bytes(data)
    decoded = decode(str(tmp_path / "damaged.mp4"), "video", config(method))
    assert decoded.frames.shape[0] >= 1


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_a_truncated_video_gives_its_intact_frames_or_is_corrupt(video, tmp_path, name, share):
    data = video("whole" + name[3:]).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: max(600, int(len(data) * share))])
    try:
        assert decode(str(path), "video", config()).frames.size
    except CorruptMedia as error:
        assert name in str(error)  # noqa: PT017


def test_flipped_bytes_never_escape_the_error_tree(video, tmp_path):
    random = np.random.default_rng(1)
    whole = np.frombuffer(video(count=20, size=(160, 120)).read_bytes(), np.uint8)
    for trial in range(40):
        data = whole.copy()
        first = 8 if trial % 2 else max(8, len(data) - 1500)  # the header of these files is at their end
        data[random.integers(first, len(data), 8)] = random.integers(0, 256, 8)
        path = tmp_path / f"flipped{trial}.mp4"
        path.write_bytes(data.tobytes())
        try:
            assert decode(str(path), "video", config("keyframe", 2, "pyav", max_pixels=1_000_000)).frames.size
        except (ItemError, MemoryError):  # the pool makes OutOfMemory of the latter
            continue


def test_text_called_mp4_is_not_shown_to_ffmpeg(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no film " * 100)
    with pytest.raises(Unrecognised, match=r"text\.mp4.*known container"):
        decode(str(tmp_path / "text.mp4"), "video", config())


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {target}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "<?xml version='1.0'?><MPD><BaseURL>{target}</BaseURL></MPD>",
    ],
    ids=["hls", "ffconcat", "sdp", "dash"],
)
@pytest.mark.parametrize("decoder", ["auto", "decord", "pyav"])
def test_playlists_are_refused(tmp_path, plain_mp4, playlist, decoder):
    for target in ("/etc/passwd", plain_mp4):
        (tmp_path / "list.mp4").write_text(playlist.format(target=target))
        with pytest.raises(Unrecognised):
            decode(str(tmp_path / "list.mp4"), "video", config("uniform", 4, decoder))


def test_a_picture_is_not_a_video_and_says_so(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    with pytest.raises(Unrecognised, match="set its kind to image"):
        decode(str(tmp_path / "p.png"), "video", config())


def test_limits_are_read_from_the_header(plain_mp4):
    with pytest.raises(TooLarge, match=r"320x240 pixels.*76799"):
        decode(str(plain_mp4), "video", config(max_pixels=320 * 240 - 1))
    with pytest.raises(TooLarge, match=r"lasts 3 seconds"):
        decode(str(plain_mp4), "video", config(max_duration_seconds=2))


def test_the_same_file_gives_the_same_frames(plain_mp4):
    for method in ("keyframe", "uniform"):
        first, second = (decode(str(plain_mp4), "video", config(method)) for _ in range(2))
        assert (first.frames == second.frames).all()
        assert first.thumbnail == second.thumbnail


def test_scaling_starts_no_threads():
    """The stacks of threads count against the memory limit of a decode process, above all on many cores."""
    frame = av.VideoFrame(1280, 720, "yuv420p")
    before = len(os.listdir("/proc/self/task"))
    assert to_rgb(frame, 512, 288).shape == (288, 512, 3)
    assert len(os.listdir("/proc/self/task")) == before  # the frame keeps its scaler
