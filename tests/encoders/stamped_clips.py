"""Clips whose frames carry their number as a pattern, and the truth about each: when every frame is shown."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from .conftest import make_video, numbered_frame, turn_mp4

WIDTH, HEIGHT = 160, 96
COUNT, GOP, RATE = 48, 12, 24
STEADY = [i / RATE for i in range(COUNT)]
NTSC = [i * 1001 / 30000 for i in range(COUNT)]
# A second at 60 per second, two at 8, a pause of a second and a half, and one more at 8.
VARIABLE = [i / 60 for i in range(60)] + [1 + i / 8 for i in range(16)] + [4.5 + i / 8 for i in range(8)]

H264 = {"codec": "libx264"}
# Three frames between two that others refer to, and frames at a key frame that need the group before it.
OPEN_H264 = {"options": {"preset": "veryfast", "bf": "3", "b_strategy": "0", "x264-params": "open-gop=1:scenecut=0"}}
HEVC = {"codec": "libx265", "options": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:scenecut=0"}}
VP9 = {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}}
AV1 = {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}}
MPEG4 = {"codec": "mpeg4", "times": [i / 30 for i in range(COUNT)]}
MPEG2 = {"codec": "mpeg2video", "times": [i / 30 for i in range(COUNT)]}


@dataclass(frozen=True)
class Clip:
    """times[i]: when frame i is shown, seconds from the first frame that is shown.

    first: the number of the first frame that is shown. turns: counter-clockwise quarter turns that undo the player's.
    lost: numbers of frames that are damaged or cut off. rounding: of time stamps, seconds. duration_within: how far the
    duration in the container is from the truth, seconds.
    """

    path: Path
    times: Sequence[float]
    first: int = 0
    turns: int = 0
    lost: range = range(0)
    rounding: float = 0.0011  # containers that count in milliseconds are off by half of one
    duration_within: float = 0.1


Maker = Callable[[Path], Clip]


def steady(path: Path, **how) -> Clip:
    """48 frames, a key frame each 12, shown at 24 per second unless `times` say otherwise."""
    how = {"times": STEADY, "gop": GOP, "size": (WIDTH, HEIGHT), **how}
    return Clip(make_video(path, **how), how["times"])


def late(path: Path, seconds: float, times: Sequence[float] = STEADY) -> Clip:
    """The container's time does not begin at 0."""
    return replace(steady(path, times=[seconds + time for time in times]), times=times)


def turned(path: Path, matrix: Sequence[int], turns: int) -> Clip:
    straight = steady(path.with_stem("straight"))
    return Clip(turn_mp4(straight.path, path, matrix), STEADY, turns=turns)


def trimmed(path: Path) -> Clip:
    """The edit list begins ten frames late, between two key frames."""
    skipped = 10
    data = bytearray(steady(path.with_stem("untrimmed")).path.read_bytes())
    place = data.index(b"elst") + 12
    duration, media_time = struct.unpack_from(">ii", data, place)
    (scale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    struct.pack_into(">ii", data, place, duration - 1000 * skipped // RATE, media_time + scale * skipped // RATE)
    path.write_bytes(data)
    return Clip(path, [(i - skipped) / RATE for i in range(COUNT)], first=skipped)


def damaged(path: Path, **how) -> Clip:
    """Three packets of the third group of pictures are overwritten; what refers to them is lost with them."""
    whole = steady(path.with_stem("whole"), **how)
    data = bytearray(whole.path.read_bytes())
    with av.open(str(whole.path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet in packets[2 * GOP + 3 : 2 * GOP + 6]:
            first, end = packet.pos + 12, packet.pos + min(packet.size, 180)
            data[first:end] = b"\xa5" * max(0, end - first)
    path.write_bytes(data)
    return Clip(path, whole.times, lost=range(2 * GOP + 1, 3 * GOP))


def truncated(path: Path, **how) -> Clip:
    whole = steady(path.with_stem("uncut"), **how)
    data = whole.path.read_bytes()
    with av.open(str(whole.path)) as container:
        ends = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(data[: ends[2 * GOP + 4]])
    return Clip(path, whole.times, lost=range(2 * GOP, COUNT))


def with_sound(path: Path, cover: bool = False) -> Clip:
    """Sound beside the pictures, beginning before them; with `cover`, a still picture as the first stream."""
    with av.open(str(path), "w") as output:
        if cover:
            still = output.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
            still.disposition = av.stream.Disposition.attached_pic
        video = output.add_stream("libx264", rate=RATE, width=WIDTH, height=HEIGHT, pix_fmt="yuv420p")
        video.gop_size, video.options = GOP, {"preset": "ultrafast", "bf": "2", "sc_threshold": "0"}
        video.codec_context.time_base = Fraction(1, 1000)
        sound = output.add_stream("aac", rate=48000)
        if cover:
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), "rgb24")
            output.mux(still.encode(picture) + still.encode())
        for index in range(100):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48000, index * 1024
            output.mux(sound.encode(silence))
            if index < COUNT:
                frame = av.VideoFrame.from_ndarray(numbered_frame(index, WIDTH, HEIGHT), "rgb24")
                frame.pts, frame.time_base = round(1000 * (STEADY[index] + 0.25)), Fraction(1, 1000)
                output.mux(video.encode(frame))
        output.mux(video.encode())
        output.mux(sound.encode())
    return Clip(path, STEADY)


def flags(value: str) -> dict[str, dict[str, str]]:
    return {"container_options": {"movflags": value}}


CLIPS: dict[str, Maker] = {
    **{f"h264.{container}": partial(steady, **H264) for container in ("mp4", "mov", "mkv", "ts", "flv")},
    **{f"hevc.{container}": partial(steady, **HEVC) for container in ("mp4", "mov", "mkv", "ts")},
    **{f"vp9.{container}": partial(steady, **VP9) for container in ("mp4", "webm", "mkv")},
    **{f"av1.{container}": partial(steady, **AV1) for container in ("mp4", "webm", "mkv")},
    "mpeg4.avi": partial(steady, **MPEG4),
    # A program stream stamps a group of frames; after a seek, FFmpeg guesses the stamps within it to half a frame.
    "mpeg2.mpg": lambda path: replace(steady(path, **MPEG2, options={"bf": "0"}), rounding=0.017, duration_within=0.2),
    "turned-right.mp4": partial(turned, matrix=(0, 1, -1, 0), turns=1),
    "turned-over.mov": partial(turned, matrix=(-1, 0, 0, -1), turns=2),
    "turned-left.mp4": partial(turned, matrix=(0, -1, 1, 0), turns=3),
    # Its writer takes the last frame, which is written before two that are shown before it, to last no time.
    "variable.mp4": lambda path: replace(steady(path, times=VARIABLE), duration_within=0.35),
    "variable.mkv": partial(steady, times=VARIABLE),
    "variable.webm": partial(steady, times=VARIABLE, **VP9),
    "ntsc.mp4": partial(steady, times=NTSC, time_base=Fraction(1001, 30000)),
    "ntsc.mkv": partial(steady, times=NTSC, time_base=Fraction(1001, 30000)),
    "open-groups.mp4": partial(steady, **OPEN_H264),
    "open-groups.mkv": partial(steady, **OPEN_H264),
    "pyramid.mp4": partial(steady, options={"preset": "veryfast", "bf": "5", "b_strategy": "0", "b-pyramid": "normal"}),
    "late.mkv": partial(late, seconds=5),
    "late.ts": partial(late, seconds=500),
    "negative-dts.mp4": partial(steady, **flags("negative_cts_offsets")),
    "no-edit-list.mp4": partial(steady, container_options={"use_editlist": "0"}),
    "trimmed.mp4": trimmed,
    "header-in-front.mp4": partial(steady, **flags("faststart")),
    "fragments.mp4": partial(steady, **flags("frag_keyframe+empty_moov+default_base_moof")),
    "fragment-per-frame.mp4": partial(steady, **flags("frag_every_frame+empty_moov")),
    "live.webm": partial(steady, container_options={"live": "1"}, **VP9),
    "wide-pixels.mp4": partial(steady, pixel_aspect=Fraction(4, 3)),
    "sound.mp4": with_sound,
    "sound.mkv": with_sound,
    "cover.mp4": partial(with_sound, cover=True),
    "one.mp4": partial(steady, times=[0.0]),
    "one.webm": partial(steady, times=[0.0], **VP9),
    "one-late.mkv": partial(late, seconds=7, times=[0.0]),
    "damaged.mp4": damaged,
    "damaged.mkv": damaged,
    "damaged.ts": damaged,
    "damaged-hevc.mp4": partial(damaged, **HEVC),
    "damaged-vp9.webm": partial(damaged, **VP9),
    "damaged-av1.mp4": partial(damaged, **AV1),
    "cut.mkv": truncated,
    "cut.ts": truncated,
    "cut-fragments.mp4": partial(truncated, **flags("frag_keyframe+empty_moov+default_base_moof")),
}
