"""Media made by the tests: pictures by Pillow, and videos by PyAV in which every frame shows its own number."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

BITS = 10
_BLOCKS = BITS + 4


def _checked(number: int) -> int:
    """The number with four check bits above it: the sum of its three-bit digits, to notice damage."""
    digits = sum(number >> shift & 7 for shift in range(0, BITS, 3))
    return number | (digits * 5 + 3 & 15) << BITS


def numbered_frame(number: int, width: int, height: int) -> np.ndarray:
    """Grey and red below; the top row of blocks is `number` in binary, readable after any compression."""
    frame = np.full((height, width, 3), 96, np.uint8)
    frame[height // 2 :, : width // 2] = (200, 30, 30)
    for bit in range(_BLOCKS):
        columns = slice(round(bit * width / _BLOCKS), round((bit + 1) * width / _BLOCKS))
        frame[: height // 4, columns] = 255 if _checked(number) >> bit & 1 else 0
    return frame


def read_number(frame: np.ndarray) -> int:
    """The inverse of `numbered_frame`, for a frame [H, W, 3] of any size. Raises ValueError where it is damaged."""
    height, width = frame.shape[:2]
    block = width / _BLOCKS
    bits = [frame[height // 8, int((bit + 0.5) * block)].mean() > 127 for bit in range(_BLOCKS)]
    code = sum(int(bit) << place for place, bit in enumerate(bits))
    number = code & (1 << BITS) - 1
    if code != _checked(number):
        raise ValueError(f"the frame shows no number: {code:0{_BLOCKS}b}")
    return number


@contextmanager
def same_scheduling() -> Iterator[None]:
    """SVT-AV1 makes the thread that opens it a real-time one where it runs as root, and so all threads and processes
    that this thread starts later: without this, whatever runs beside the tests waits for all of them."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    count: int = 90,
    gop: int = 30,
    size: tuple[int, int] = (320, 240),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
    time_base: Fraction = Fraction(1, 1000),
) -> Path:
    """Frame number i is shown at `times[i]` seconds (default: 30 per second)."""
    times = [i / 30 for i in range(count)] if times is None else times
    if codec == "libx264":
        options = {"preset": "ultrafast", "sc_threshold": "0", "bf": "2", **(options or {})}
    with (
        same_scheduling(),
        av.open(str(path), "w", format=container, options=container_options or {}) as output,
    ):
        stream = output.add_stream(codec, rate=30)
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size, stream.options = pixels, gop, options or {}
        stream.codec_context.time_base = time_base if codec not in ("mpeg4", "mpeg2video") else Fraction(1, 30)
        stream.codec_context.thread_count = 1
        if pixel_aspect:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        base = stream.codec_context.time_base
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), "rgb24")
            frame.pts, frame.time_base = round(time / base), base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def turn_mp4(source: Path, target: Path, matrix: Sequence[int]) -> Path:
    """Writes `matrix` (a, b, c, d of the display matrix) into the track header."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    return lambda name="video.mp4", **how: make_video(tmp_path / name, **how)


@pytest.fixture(scope="session")
def plain_mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of 320x240 H.264, a key frame each second."""
    return make_video(tmp_path_factory.mktemp("media") / "plain.mp4")
