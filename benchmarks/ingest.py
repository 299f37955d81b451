"""Ray ingest against the same steps in one process, on the same cores: `python benchmarks/ingest.py [--json OUT]`.

Two shapes: many pictures through mini CLIP, where decoding is the bottleneck, and fewer through ViT-B-32 with random
weights, where encoding is. Start-up and model load stand apart: per_item_ms is the slope between two ingests, of which
the smaller sets every worker going and gives Ray what it decodes while its encoder loads; start_s is where that line
meets no pictures at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

# This folder's tokenizers.py would pass for the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
from PIL import Image

from fuseid.apps.show import print_rows
from fuseid.core.config import Config, load_config
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.runners import LocalRunner, Runner
from fuseid.pipelines.sources import open_source
from fuseid.ray_jobs.runner import RayRunner, connect

# Model, pictures of the smaller ingest, and how many more the larger one has.
CASES = {
    "decode-bound": ("builtin:mini-clip", 2000, 2000),
    "encode-bound": ("ViT-B-32/random", 2 * Config().run.block_rows, 300),
}


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


def seconds(manifest: Path, config: Config, runner: Runner, scratch: Path) -> float:
    """A whole ingest into a new database, from nothing to the last commit."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=scratch) as db:
        run = ingest(f"{db}/db", open_source(manifest), config, runner)
    if run.counts["committed"] != run.counts["listed"]:
        raise RuntimeError(f"only {run.counts} arrived")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    arguments = parser.parse_args()
    connect()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        scratch = Path(name)
        pictures = scratch / "pictures"
        pictures.mkdir()
        cases = arguments.case or list(CASES)
        lines = write_pictures(pictures, max(sum(CASES[case][1:]) for case in cases)).read_text().splitlines()
        for case in cases:
            model, few_count, count = CASES[case]
            few, all_of_them = pictures / "few.jsonl", pictures / f"{case}.jsonl"
            few.write_text("\n".join(lines[:few_count]) + "\n")
            all_of_them.write_text("\n".join(lines[: few_count + count]) + "\n")
            config = load_config(None, {"clip.model": model})
            # What this process imports, it imports before the clock runs.
            seconds(few, config, LocalRunner(), scratch)
            # The runners alternate, so that a slow minute of the machine falls on both.
            found: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
            for _ in range(arguments.repeats):
                for make in (LocalRunner, RayRunner):
                    pair = (seconds(few, config, make(), scratch), seconds(all_of_them, config, make(), scratch))
                    found[make.name].append(pair)
            for runner, pairs in found.items():
                few_s, total = (statistics.median(column) for column in zip(*pairs, strict=True))
                per_item = (total - few_s) / count
                rows.append({
                    "case": case, "model": model, "pictures": few_count + count, "runner": runner,
                    "start_s": few_s - few_count * per_item, "per_item_ms": 1000 * per_item, "total_s": total,
                })  # fmt: skip
            rows[-1]["ray_over_local"] = rows[-1]["per_item_ms"] / rows[-2]["per_item_ms"]
    shown = [{k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    print(f"JPEG of 512 x 384; median of {arguments.repeats}; ray_over_local: time per item, less is better")
    print_rows(shown, ("case", "model", "pictures", "runner", "start_s", "per_item_ms", "total_s", "ray_over_local"))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
