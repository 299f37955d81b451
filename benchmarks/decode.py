"""Eight frames of a 60-second 720p H.264 video: fuseid's sampling and decord's, one thread each, in one run."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import decord
import numpy as np

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.encoders.media import decode
from fuseid.encoders.video import sample_frames

WIDTH, HEIGHT, RATE = 1280, 720, 30
FRAMES = 8
LONG_SIDE = 512
REFERENCE = "decord, uniform indices"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="length of the videos that are made")
    parser.add_argument("--gops", type=int, nargs="+", default=[250, 30], help="frames between key frames")
    parser.add_argument("--repeats", type=int, default=7, help="the median of these is reported")
    parser.add_argument("--folder", type=Path, help="keeps the videos here and reuses existing ones")
    parser.add_argument("--json", type=Path, help="writes the results here")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        for gop in options.gops:
            path = folder / f"{options.seconds}s-gop{gop}.mp4"
            if not path.exists():
                make_video(path, options.seconds, gop)
            rows = compare(str(path), options.repeats)
            print_table(gop, path.stat().st_size, rows)
            results.append({"gop": gop, "bytes": path.stat().st_size, "rows": rows})
    if options.json:
        options.json.write_text(
            json.dumps({"frames": FRAMES, "seconds": options.seconds, "results": results}, indent=1)
        )


def make_video(path: Path, seconds: int, gop: int) -> None:
    """Drifting gradients, a moving square and film grain: motion that the encoder can predict, and noise it cannot."""
    random = np.random.default_rng(0)
    grain = random.integers(-8, 9, (16, HEIGHT, WIDTH, 1), dtype=np.int16)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.stack([columns // 5, rows // 3, (rows + columns) // 8], -1).astype(np.int16) % 256
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", gop
        stream.options = {"preset": "veryfast", "crf": "23", "sc_threshold": "0"}
        for index in range(seconds * RATE):
            picture = np.roll(base, 3 * index, 1) + grain[index % 16]
            top, left = index * 5 % (HEIGHT - 200), index * 7 % (WIDTH - 200)
            picture[top : top + 200, left : left + 200] = 255 - picture[top : top + 200, left : left + 200]
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def compare(path: str, repeats: int) -> list[dict]:
    """Each round runs all methods in turn, so that a busy moment of the machine affects them equally.

    Processor time is reported beside wall-clock time: it varies less on a shared machine.
    """
    ways = contenders(path)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    distinct = {}
    for round_number in range(repeats + 1):
        for name, way in ways.items():
            wall_start, processor_start = time.perf_counter(), time.process_time()
            frames = way()
            if round_number:  # the first round only warms the page cache and the libraries
                wall[name].append(time.perf_counter() - wall_start)
                processor[name].append(time.process_time() - processor_start)
            distinct[name] = len({frame.tobytes() for frame in frames})
    reference = statistics.median(wall[REFERENCE])
    return [
        {
            "way": name,
            "ms": 1e3 * statistics.median(wall[name]),
            "processor_ms": 1e3 * statistics.median(processor[name]),
            "times_faster": reference / statistics.median(wall[name]),
            "distinct_frames": distinct[name],
        }
        for name in ways
    ]


def contenders(path: str) -> dict[str, Callable[[], np.ndarray]]:
    height = round(HEIGHT * LONG_SIDE / WIDTH)

    def ours(method: str, decoder: str) -> np.ndarray:
        sampling = SamplingConfig(method=method, frames=FRAMES)
        config = DecodeConfig(sampling=sampling, long_side=LONG_SIDE, video_decoder=decoder)
        with open(path, "rb") as file:
            return sample_frames(file, path, config).frames

    def whole(method: str) -> np.ndarray:
        sampling = SamplingConfig(method=method, frames=FRAMES)
        return decode(path, "video", DecodeConfig(sampling=sampling, long_side=LONG_SIDE)).frames

    def with_decord(keys: bool, **size: int) -> np.ndarray:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1, **size)
        candidates = np.asarray(reader.get_key_indices()) if keys else np.arange(len(reader))
        places = ((np.arange(FRAMES) + 0.5) / FRAMES * len(reader)).astype(int)
        indices = candidates[np.abs(candidates[None] - places[:, None]).argmin(1)]
        return reader.get_batch(indices.tolist()).asnumpy()

    bounded = {"width": LONG_SIDE, "height": height}
    return {
        "ours, keyframe": lambda: ours("keyframe", "auto"),
        "ours, keyframe, with hash and thumbnail": lambda: whole("keyframe"),
        "decord, its key indices": lambda: with_decord(True),
        "decord, its key indices, scaled by decord": lambda: with_decord(True, **bounded),
        "ours, uniform (decord)": lambda: ours("uniform", "decord"),
        "ours, uniform (PyAV)": lambda: ours("uniform", "pyav"),
        REFERENCE: lambda: with_decord(False),
        "decord, uniform indices, scaled by decord": lambda: with_decord(False, **bounded),
    }


def print_table(gop: int, size: int, rows: list[dict]) -> None:
    print(f"\n{gop}-frame GOP, {size / 1e6:.1f} MB, {FRAMES} frames to a long side of {LONG_SIDE}\n")
    print(f"| way | ms per video | processor ms | times faster than {REFERENCE} | distinct frames |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        figures = f"{row['ms']:.0f} | {row['processor_ms']:.0f} | {row['times_faster']:.1f} | {row['distinct_frames']}"
        print(f"| {row['way']} | {figures} |")


if __name__ == "__main__":
    main()
