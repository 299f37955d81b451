"""fuseid's ingest, a bare loop and plain Ray Data: `python benchmarks/ingest.py [--json OUT]`.

Four methods process the same files on the same cores, in turn, in one run:
- `fuseid, Ray` and `fuseid, local`: fuseid with its two runners, from the manifest to the last commit;
- `bare loop`: one process, in which threads decode the next batches with Pillow or decord while the model works on the
  current one; the vectors are appended to a Lance table;
- `plain Ray Data`: `read_images` or `read_videos`, `map_batches` with the model in an actor, `write_parquet`. Of
  a video it keeps a frame per second, as many frames as the others use; a mix is two such pipelines.
The last two have no thumbnails, captions, hashes, IDs, time or memory limits, rejected items or re-runs, and a file
that hangs or crashes the decoder ends them; the time shown for fuseid includes all of this.

Start-up and model load are separate: per_item_ms is the time per item after a share (`--part`) of them is encoded, up
to the last commit; start_s is the rest of total_s. `of_bare`, `of_local` and `of_ray_data` are speeds per item relative
to those methods, more is better. Ray's own start comes before all clocks and is printed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import av
import decord
import lance
import numpy as np
import open_clip
import pyarrow as pa
import torch
from PIL import Image

from fuseid.apps.show import print_rows
from fuseid.core.config import ClipConfig, load_config
from fuseid.encoders.model_identity import resolve_clip
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner, Runner
from fuseid.pipelines.sources.open import open_source
from fuseid.ray_jobs.runner import RayRunner, connect

MODELS = {"mini": "builtin:mini-clip", "ViT-B-32": "ViT-B-32/random"}
CASES = ("images", "videos", "mix")
PICTURE = (512, 384)
VIDEO, RATE, SECONDS = (640, 360), 30, 8
FRAMES = SECONDS
# Videos with different content; the others are copies, which no method can take advantage of.
_DIFFERENT = 8
_BATCH = 32
_APPEND_ROWS = 1024


def write_pictures(folder: Path, count: int) -> list[Path]:
    """`count` different JPEGs, with the detail of photographs; existing ones are kept."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    width, height = PICTURE
    for path in paths:
        small = rng.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
        grain = rng.integers(0, 24, (height, width, 3), dtype=np.uint8)
        if not path.exists():
            base = Image.fromarray(small).resize(PICTURE, Image.Resampling.BICUBIC)
            Image.fromarray(np.minimum(np.asarray(base), 231) + grain).save(path, quality=90)
    return paths


def write_videos(folder: Path, count: int) -> list[Path]:
    """H.264 with a key frame every second: a drifting photograph with film grain; existing ones are kept."""
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if path.exists():
            continue
        if number >= _DIFFERENT:
            shutil.copyfile(paths[number % _DIFFERENT], path)
            continue
        rng = np.random.default_rng(number)
        width, height = VIDEO
        small = Image.fromarray(rng.integers(0, 231, (height // 20, width // 20, 3), dtype=np.uint8))
        base = np.asarray(small.resize(VIDEO, Image.Resampling.BICUBIC))
        grain = rng.integers(0, 12, (16, height, width, 1), dtype=np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", RATE
            stream.options = {"preset": "veryfast", "crf": "23", "sc_threshold": "0"}
            for index in range(SECONDS * RATE):
                picture = np.minimum(np.roll(base, 3 * index, 1), 243) + grain[index % 16]
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = index, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return paths


@dataclass
class Pass:
    """One pass over `total` items or frames. marks: (clock time in seconds, number encoded by then)."""

    total: int
    marks: list[tuple[float, int]] = field(default_factory=list)
    ended: float = 0.0

    def add(self, encoded: int) -> None:
        self.marks.append((time.time(), encoded + (self.marks[-1][1] if self.marks else 0)))

    def steady_s(self, part: float) -> float:
        """The time for all items at the speed measured after the first part is encoded."""
        moment, done = next(mark for mark in self.marks if mark[1] >= part * self.total)
        if done >= self.total:
            raise RuntimeError(f"all of {self.total} came at once; a speed needs more items, or a smaller --part")
        return (self.ended - moment) / (self.total - done) * self.total


class Watch:
    """A `Progress` that records the marks of an ingest."""

    def __init__(self, marks: Pass) -> None:
        self._marks = marks

    def begin(self, stage: str, total: int | None) -> None:
        pass

    def advance(self, stage: str, done: int) -> None:
        if stage == "ingest" and done:
            self._marks.add(done)


# The methods: each takes files, a model and an empty folder.

Way = Callable[[Sequence[Path], str, Path], list[Pass]]


def product(make: Callable[[], Runner]) -> Way:
    def run(files: Sequence[Path], model: str, out: Path) -> list[Pass]:
        whole = Pass(len(files))
        manifest = files[0].parent / "manifest.jsonl"
        lines = [json.dumps({"content_id": path.name, "uri": path.name}) for path in files]
        manifest.write_text("\n".join(lines) + "\n")
        done = ingest(
            f"{out}/db", open_source(manifest), load_config(None, {"clip.model": model}), make(), Watch(whole)
        )
        whole.ended = time.time()
        if done.counts["committed"] != len(files):
            raise RuntimeError(f"only {done.counts} of {len(files)} arrived")
        return [whole]

    return run


def bare_model(model: str) -> tuple[Any, Callable[[Image.Image], torch.Tensor]]:
    """The model and its preprocessing from open_clip."""
    name, tag, _ = resolve_clip(ClipConfig(model=model))
    network, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=tag)
    return network.eval(), preprocess


def bare_loop(files: Sequence[Path], model: str, out: Path) -> list[Pass]:
    whole = Pass(len(files))
    network, preprocess = bare_model(model)

    def decoded(path: Path) -> torch.Tensor:
        if path.suffix == ".jpg":
            with Image.open(path) as image:
                return preprocess(image.convert("RGB"))[None]
        reader = decord.VideoReader(str(path), num_threads=1)
        places = (np.arange(FRAMES) + 0.5) / FRAMES * len(reader)
        keys = np.asarray(reader.get_key_indices())
        nearest = keys[np.abs(keys[None] - places[:, None]).argmin(1)]
        return torch.stack([preprocess(Image.fromarray(frame)) for frame in reader.get_batch(nearest).asnumpy()])

    ids: list[str] = []
    vectors: list[np.ndarray] = []

    def append() -> None:
        joined = np.concatenate(vectors)
        column = pa.FixedSizeListArray.from_arrays(joined.reshape(-1), joined.shape[1])
        lance.write_dataset(pa.table({"content_id": ids, "vector": column}), out / "bare.lance", mode="append")
        ids.clear()
        vectors.clear()

    def encode(batch: list[tuple[Path, Future[torch.Tensor]]]) -> None:
        frames = [future.result() for _, future in batch]
        with torch.inference_mode():
            found = torch.nn.functional.normalize(network.encode_image(torch.cat(frames)), dim=-1)
        pooled = torch.stack([part.mean(0) for part in found.split([len(each) for each in frames])])
        vectors.append(torch.nn.functional.normalize(pooled, dim=-1).numpy())
        ids.extend(path.name for path, _ in batch)
        whole.add(len(batch))
        if len(ids) >= _APPEND_ROWS:
            append()

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        ahead: deque[list[tuple[Path, Future[torch.Tensor]]]] = deque()
        for batch in batches_of(files):
            ahead.append([(path, threads.submit(decoded, path)) for path in batch])
            if len(ahead) > 2:
                encode(ahead.popleft())
        while ahead:
            encode(ahead.popleft())
    if ids:
        append()
    whole.ended = time.time()
    return [whole]


def batches_of(files: Sequence[Path]) -> list[list[Path]]:
    """Batches of about `_BATCH` frames."""
    found: list[list[Path]] = []
    room = 0
    for path in files:
        if room <= 0:
            found.append([])
            room = _BATCH
        found[-1].append(path)
        room -= 1 if path.suffix == ".jpg" else FRAMES
    return found


class Encoder:
    """The class that a user of Ray Data would write: the model in an actor, a batch in, a batch out."""

    def __init__(self, model: str, threads: int, marks: Path) -> None:
        self._marks = marks
        torch.set_num_threads(threads)
        self._network, self._preprocess = bare_model(model)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        frames = batch["image"] if "image" in batch else batch["frame"]
        prepared = torch.stack([self._preprocess(Image.fromarray(frame)) for frame in frames])
        with torch.inference_mode():
            found = torch.nn.functional.normalize(self._network.encode_image(prepared), dim=-1)
        with self._marks.open("a") as marks:
            marks.write(f"{time.time()} {len(found)}\n")
        return {"path": batch["path"], "vector": found.numpy()}


def plain_ray_data(files: Sequence[Path], model: str, out: Path) -> list[Pass]:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    pictures = [str(path) for path in files if path.suffix == ".jpg"]
    videos = [str(path) for path in files if path.suffix == ".mp4"]
    passes = []
    for paths, frames in ((pictures, 1), (videos, FRAMES)):
        if not paths:
            continue
        if frames == 1:
            source = ray.data.read_images(paths, mode="RGB", include_paths=True)
        else:
            source = ray.data.read_videos(paths, fps=1, include_paths=True)
        marks = out / f"marks-{frames}"
        encoder = {"fn_constructor_args": (model, os.cpu_count(), marks), "batch_size": _BATCH}
        one_actor = {"compute": ray.data.ActorPoolStrategy(size=1), "num_cpus": 1}
        source.map_batches(Encoder, **encoder, **one_actor).write_parquet(str(out / f"parquet-{frames}"))
        done = Pass(frames * len(paths), ended=time.time())
        for line in marks.read_text().splitlines():
            moment, encoded = line.split()
            done.marks.append((float(moment), int(encoded) + (done.marks[-1][1] if done.marks else 0)))
        if done.marks[-1][1] != done.total:
            raise RuntimeError(f"only {done.marks[-1][1]} of {done.total} frames arrived")
        passes.append(done)
    return passes


WAYS: dict[str, Way] = {
    "bare loop": bare_loop,
    "plain Ray Data": plain_ray_data,
    "fuseid, local": product(LocalRunner),
    "fuseid, Ray": product(RayRunner),
}
_BESIDE = {"of_bare": "bare loop", "of_local": "fuseid, local", "of_ray_data": "plain Ray Data"}
COLUMNS = ("case", "model", "items", "way", "start_s", "per_item_ms", "total_s", *_BESIDE)


def measure(ways: Sequence[str], files: Sequence[Path], model: str, part: float, rounds: int) -> list[dict[str, Any]]:
    """The methods take turns, so that a slow minute of the machine affects all of them."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            with tempfile.TemporaryDirectory(dir=files[0].parents[1]) as out:
                started = time.time()
                passes = WAYS[way](files, model, Path(out))
            found[way].append((passes[-1].ended - started, sum(each.steady_s(part) for each in passes)))
    rows: list[dict[str, Any]] = []
    for way, pairs in found.items():
        total_s, steady_s = (statistics.median(column) for column in zip(*pairs, strict=True))
        per_item_ms = 1e3 * steady_s / len(files)
        rows.append({"way": way, "start_s": total_s - steady_s, "per_item_ms": per_item_ms, "total_s": total_s})
    each = {row["way"]: row["per_item_ms"] for row in rows}
    for row in rows:
        row |= {name: each[way] / row["per_item_ms"] for name, way in _BESIDE.items() if way in each}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, help="a mix has half of them and half of the videos")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--part", type=float, default=0.3, help="share of the items that counts as starting")
    parser.add_argument("--rounds", type=int, default=3, help="medians of these")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--model", choices=MODELS, action="append", help="default: all")
    parser.add_argument("--way", choices=WAYS, action="append", help="default: all")
    parser.add_argument("--work", type=Path, help="keeps the media here and reuses existing ones")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    ways = arguments.way or list(WAYS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        media = (arguments.work or Path(name)) / "media"
        media.mkdir(parents=True, exist_ok=True)
        pictures, videos = write_pictures(media, arguments.images), write_videos(media, arguments.videos)
        started = time.perf_counter()
        connect()
        ray_s = time.perf_counter() - started
        print(
            f"JPEG of {PICTURE[0]} x {PICTURE[1]}; H.264 of {VIDEO[0]} x {VIDEO[1]}, {SECONDS} s at {RATE} frames/s, a "
            f"key frame a second, {FRAMES} frames encoded; {os.cpu_count()} cores; median of {arguments.rounds}; Ray's "
            f"start: {ray_s:.1f} s"
        )
        for case in arguments.case or CASES:
            half = 2 if case == "mix" else 1
            images = pictures[: 0 if case == "videos" else arguments.images // half]
            clips = videos[: 0 if case == "images" else arguments.videos // half]
            files = shuffled(images + clips)
            for model in arguments.model or MODELS:
                # Imports of this process happen before the clock starts.
                with tempfile.TemporaryDirectory() as out:
                    WAYS["fuseid, local"](files[:8], MODELS[model], Path(out))
                found = measure(ways, files, MODELS[model], arguments.part, arguments.rounds)
                beside = {"case": case, "model": model, "items": len(files)}
                rows += [beside | row for row in found]
                print_rows([rounded(beside | row) for row in found], COLUMNS)
    if arguments.json:
        document = {
            "rounds": arguments.rounds, "part": arguments.part, "cores": os.cpu_count(), "picture": PICTURE,
            "video": [*VIDEO, RATE, SECONDS], "frames": FRAMES, "ray_start_s": ray_s, "rows": rows,
        }  # fmt: skip
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value:.2f}" if isinstance(value, float) else value for key, value in row.items()}


def shuffled(files: list[Path]) -> list[Path]:
    """A fixed random order, in which images and videos are mixed."""
    return [files[index] for index in np.random.default_rng(0).permutation(len(files))]


if __name__ == "__main__":
    main()
