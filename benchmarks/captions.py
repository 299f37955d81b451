"""The cost of generated captions: `python benchmarks/captions.py [--json OUT] [--model MODEL]`.

Runs the encode step over the sample's pictures with the bundled VLM: vectors only, with captions, with captions and
tags; and vectors and captions one picture at a time, that is, without batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import torch
from PIL import Image

import fuseid.sample
from benchmarks.random_models import work_of
from fuseid.apps.show import print_rows
from fuseid.core.config import VlmConfig
from fuseid.encoders.vlm import TransformersVlm
from fuseid.pipelines.ingestion.steps import EncodeStep

CASES: dict[str, dict[str, Any]] = {
    "vectors": {},
    "vectors, captions": {"caption": "caption"},
    "vectors, captions, tags": {"caption": "caption", "tags": "tags"},
    "vectors, captions, one by one": {"caption": "caption", "batch_size": 1},
}


def pictures(count: int) -> list[np.ndarray]:
    """Pictures of the sample in the form that decoding produces: uint8 [1, H, W, 3], long side at most 512."""
    folder = Path(fuseid.sample.__path__[0]) / "images"
    found = []
    for path in sorted(folder.iterdir())[:count]:
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((512, 512))
        found.append(np.asarray(picture)[None])
    return found


def seconds(run: Callable[[], object]) -> float:
    """Processor time of this process, on one thread: other work on the machine does not count."""
    started = time.process_time()
    run()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin:mini-vlm")
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = pictures(arguments.items)
    batch = work_of(frames)
    steps = {}
    for case, settings in CASES.items():
        settings = {"prompt": "caption", "max_new_tokens": 24, "device": "cpu", **settings}
        config = VlmConfig(model=arguments.model, **settings)
        steps[case] = EncodeStep(None, TransformersVlm(config), describes=config.caption is not None)
    times: dict[str, list[float]] = {case: [] for case in steps}
    for _ in range(arguments.repeats + 1):
        for case, step in steps.items():
            times[case].append(seconds(lambda step=step: step(batch)))
    # The first round only warms up.
    rates = {case: len(frames) / statistics.median(found[1:]) for case, found in times.items()}
    rows = [{"case": case, "items_s": rate, "over_vectors": rate / rates["vectors"]} for case, rate in rates.items()]
    print(f"{arguments.model}; {len(frames)} pictures; CPU, one thread, processor time; median of {arguments.repeats}")
    print_rows([{k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows], tuple(rows[0]))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
