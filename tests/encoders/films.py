"""Films made by FFmpeg's own command, and what it shows of them: the reference for the tests of the decoders."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

# Small, but each frame differs from the others, and from itself in any other orientation.
RATE, WIDTH, HEIGHT = 10, 64, 48


def picture(seconds: float = 4, rate: float = RATE, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size[0]}x{size[1]}:r={rate}:d={seconds},hue=H=0.7*n"]


def sound(seconds: float) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=d={seconds}:r=44100"]


H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p"]


def ffmpeg(*arguments: str | Path) -> bytes:
    """What FFmpeg writes to its standard output. The last argument is the output. One thread to read and one to encode:
    the same bytes each time, and libvpx's threads spin without end on a machine that is busy."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-threads", "1", "-y"]
    command += [*map(str, arguments[:-1]), "-threads", "1", str(arguments[-1])]
    done = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def shown(path: Path, *filters: str, track: str = "0:V:0") -> tuple[np.ndarray, np.ndarray]:
    """(frames uint8 [T, H, W, 3], times float64 [T] in seconds from the first) as FFmpeg shows them, oriented."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-i", str(path), "-map", track]
    command += ["-vf", ",".join((*filters, "format=rgb24", "showinfo")), "-fps_mode", "passthrough"]
    done = subprocess.run([*command, "-f", "rawvideo", "-"], check=False, capture_output=True, timeout=120)
    lines = re.findall(r"pts_time:\s*(\S+).* s:(\d+)x(\d+) ", done.stderr.decode("utf-8", "replace"))
    assert lines, done.stderr.decode()
    width, height = int(lines[0][1]), int(lines[0][2])
    frames = np.frombuffer(done.stdout, np.uint8).reshape(len(lines), height, width, 3)
    times = np.array([float(line[0]) for line in lines])
    return frames, times - times[0]


def with_matrix(source: Path, target: Path, matrix: Sequence[float]) -> Path:
    """A copy of an MP4 or MOV with a, b, c, d of the display matrix in its track header."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


# How many bytes of a box come before the boxes within it, where these are not the 8 of its length and name.
_HEADS = {b"stsd": 16, b"avc1": 86, b"hvc1": 86}
SAMPLES = (b"mdia", b"minf", b"stbl", b"stsd")


def with_box(source: Path, target: Path, track: int, within: Sequence[bytes], box: bytes) -> Path:
    """A copy of an MP4 or MOV whose header is at its end, with another box in a track, within those of these names."""
    data = bytearray(source.read_bytes())
    start, end, sizes = 0, len(data), []
    for name, number in ((b"moov", 0), (b"trak", track), *((each, 0) for each in within)):
        place, length = _find(data, start, end, name, number)
        sizes.append(place)
        start, end = place + _HEADS.get(name, 8), place + length
    data[end:end] = box
    for place in sizes:
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(box))
    target.write_bytes(data)
    return target


def _find(data: bytes, start: int, end: int, wanted: bytes, number: int) -> tuple[int, int]:
    while start < end:
        length, name = struct.unpack_from(">I4s", data, start)
        if name == wanted and number == 0:
            return start, length
        number -= name == wanted
        start += length
    raise AssertionError(f"no box {wanted!r}")
