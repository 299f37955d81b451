"""Ray ingest against the same steps in one process, on the same cores: `python benchmarks/ingest.py [--json OUT]`.

Two shapes: many pictures through mini CLIP, where decoding is the bottleneck, and fewer through ViT-B-32 with random
weights, where encoding is. Start-up of Ray and loading of the models are measured apart: each runner first ingests a
few items, then the clock runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from fuseid.apps.show import print_rows
from fuseid.core.config import Config, load_config
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.runners import LocalRunner, Runner
from fuseid.pipelines.sources import open_source
from fuseid.ray_jobs.runner import RayRunner, connect

CASES = {
    "decode-bound": ("builtin:mini-clip", 2000),
    "encode-bound": ("ViT-B-32/random", 300),
}


class Clocked:
    """A runner that notes when its first batch arrives: what is before that is start-up, model load, first batch."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.name = runner.name
        self.first_at = 0.0
        self.last_at = 0.0
        self.rows_after_first = 0

    def stream(self, work: Iterator[pa.RecordBatch], config: Config) -> Iterator[pa.RecordBatch]:
        for batch in self._runner.stream(work, config):
            now = time.perf_counter()
            if self.first_at:
                self.rows_after_first += batch.num_rows
            else:
                self.first_at = now
            self.last_at = now
            yield batch


def write_pictures(folder: Path, count: int) -> Path:
    """`count` different JPEGs of 512 x 384, with the detail of photographs, and their manifest."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(count):
        base = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize(
            (512, 384), Image.Resampling.BICUBIC
        )
        grain = rng.integers(0, 24, (384, 512, 3), dtype=np.uint8)
        Image.fromarray(np.minimum(np.asarray(base), 231) + grain).save(folder / f"{number}.jpg", quality=90)
        lines.append(json.dumps({"content_id": str(number), "uri": f"{number}.jpg"}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def measure(manifest: Path, config: Config, runner: Runner, scratch: Path) -> dict[str, float]:
    """Seconds until the first batch, and items per second from then to the last, commits included."""
    clocked = Clocked(runner)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=scratch) as db:
        ingest(f"{db}/db", open_source(manifest), config, clocked)
    return {
        "start_s": clocked.first_at - started,
        "items_per_s": clocked.rows_after_first / (clocked.last_at - clocked.first_at),
        "total_s": time.perf_counter() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    arguments = parser.parse_args()
    connect()
    rows = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        scratch = Path(name)
        pictures = scratch / "pictures"
        pictures.mkdir()
        manifest = write_pictures(pictures, max(CASES[case][1] for case in arguments.case or CASES))
        for case in arguments.case or CASES:
            model, count = CASES[case]
            part = pictures / f"{case}.jsonl"
            part.write_text("\n".join(manifest.read_text().splitlines()[:count]) + "\n")
            config = load_config(None, {"clip.model": model})
            # The two alternate, so that a slow minute of the machine falls on both.
            results: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
            for _ in range(arguments.repeats):
                for runner in (LocalRunner(), RayRunner()):
                    results[runner.name].append(measure(part, config, runner, scratch))
            for runner_name, runs in results.items():
                median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                rows.append({"case": case, "model": model, "pictures": count, "runner": runner_name, **median})
            rows[-1]["ray_over_local"] = rows[-2]["items_per_s"] / rows[-1]["items_per_s"]
    shown = [{k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    print(
        "pictures of 512 x 384 JPEG; median of",
        arguments.repeats,
        "runs; ray_over_local: time per item, smaller is better",
    )
    print_rows(shown, ("case", "model", "pictures", "runner", "start_s", "items_per_s", "total_s", "ray_over_local"))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
