"""Encodes frames and sound into small video files, and reads excerpts of existing ones, through PyAV."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

# Otherwise SVT-AV1 prints its whole configuration.
os.environ.setdefault("SVT_LOG", "1")

RATE_HZ = 44100
MILLISECONDS = Fraction(1, 1000)

# One thread each: the output of an encoder depends on the number of threads, and all builds must be equal.
# x264 runs without its assembly, which reads uninitialised memory and so differs between runs (see MALLOC_PERTURB_).
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "slow", "crf": "23", "threads": "1", "x264-params": "asm=0"}),
    "hevc": ("libx265", {"preset": "medium", "crf": "25", "x265-params": "log-level=error:pools=none:frame-threads=1"}),
    "vp9": ("libvpx-vp9", {"crf": "33", "b": "0", "deadline": "good", "cpu-used": "3", "threads": "1"}),
    "av1": ("libsvtav1", {"preset": "7", "crf": "34", "svtav1-params": "lp=1"}),
}


@dataclass(frozen=True)
class Recording:
    """How a clip is stored: codec, container (by suffix), frames between key frames, and what is unusual about it."""

    codec: str
    suffix: str
    key_frame_every: int = 30
    crf: int | None = None
    rotated: bool = False


def write(
    path: Path,
    recording: Recording,
    frames: Iterable[Image.Image],
    times_s: list[float],
    sound: np.ndarray | None = None,
) -> None:
    """Writes RGB frames at their times, with mono sound in [-1, 1] at 44.1 kHz if there is any."""
    encoder, options = ENCODERS[recording.codec]
    options = dict(options)
    if recording.crf is not None:
        options["crf"] = str(recording.crf)
    if recording.codec == "h264" and recording.key_frame_every > 200:
        options["sc_threshold"] = "0"
    # Bit-exact muxing leaves out dates and random identifiers.
    container_options = {"fflags": "+bitexact"}
    if recording.suffix in (".mp4", ".mov"):
        container_options["movflags"] = "+faststart"
    with av.open(str(path), "w", options=container_options) as container:
        iterator = iter(frames)
        first = next(iterator)
        fps = Fraction(round((len(times_s) - 1) / times_s[-1] * 1000), 1000)
        video = container.add_stream(encoder, rate=fps, options=options)
        video.width, video.height = first.size
        video.pix_fmt = "yuv420p"
        video.gop_size = recording.key_frame_every
        video.codec_context.time_base = MILLISECONDS
        if recording.codec == "hevc" and recording.suffix in (".mp4", ".mov"):
            # Without this tag, Apple's players refuse HEVC.
            video.codec_context.codec_tag = "hvc1"
        audio = None
        if sound is not None:
            webm = recording.suffix == ".webm"
            audio = container.add_stream("libopus" if webm else "aac", rate=48000 if webm else RATE_HZ, layout="mono")
            audio.bit_rate = 40_000
        for time_s, image in zip(times_s, _chain(first, iterator), strict=True):
            frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), MILLISECONDS
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)[None, :]
            context = audio.codec_context
            resampler = av.AudioResampler(format=context.format, layout="mono", rate=context.rate)
            for start in range(0, samples.shape[1], 1024):
                piece = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, start : start + 1024]), "s16", "mono"
                )
                piece.rate, piece.pts, piece.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
                for resampled in resampler.resample(piece):
                    container.mux(audio.encode(resampled))
            for resampled in resampler.resample(None):
                container.mux(audio.encode(resampled))
            container.mux(audio.encode())
    if recording.rotated:
        path.write_bytes(turned(path.read_bytes()))


def _chain(first: Image.Image, rest: Iterator[Image.Image]) -> Iterator[Image.Image]:
    yield first
    yield from rest


def turned(data: bytes) -> bytes:
    """An MP4 whose video track is displayed rotated by 90 degrees clockwise.

    The track header ends in a 3x3 matrix of fixed-point numbers and the presentation size (ISO/IEC 14496-12, 8.3.2).
    """
    at = data.index(b"tkhd") + 4
    matrix_at = at + (40 if data[at] == 0 else 52)
    width, height = struct.unpack_from(">II", data, matrix_at + 36)
    one, w = 0x10000, 0x40000000
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, height, 0, w)
    return data[:matrix_at] + matrix + struct.pack(">II", width, height) + data[matrix_at + 44 :]


def excerpt(
    path: Path, start_s: float, seconds: float, width: int, every: int = 1
) -> tuple[list[Image.Image], list[float]]:
    """Frames of a film from `start_s` on, scaled to a width, and their times from 0."""
    frames, times = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        container.seek(int(start_s / stream.time_base), stream=stream)
        index = 0
        for frame in container.decode(stream):
            if frame.time < start_s:
                continue
            if frame.time >= start_s + seconds:
                break
            if index % every == 0:
                height = round(frame.height * width / frame.width / 2) * 2
                frames.append(frame.to_image().resize((width, height), Image.Resampling.LANCZOS))
                times.append(frame.time)
            index += 1
    return frames, [time - times[0] for time in times]


def excerpt_sound(path: Path, start_s: float, seconds: float) -> np.ndarray:
    """The sound of the same excerpt, mixed to mono at 44.1 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    pieces = []
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        container.seek(int(max(0, start_s - 0.5) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time + frame.samples / frame.rate <= start_s:
                continue
            if frame.time >= start_s + seconds:
                break
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.concatenate(pieces)[: int(seconds * RATE_HZ)]
