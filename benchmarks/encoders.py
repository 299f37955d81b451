"""fuseid's encode step and the bare forward pass: `python benchmarks/encoders.py [--device cuda] [--json OUT]`.

Random weights, so nothing is downloaded. `step` is fuseid's own: Arrow batches of uint8 frames to Arrow batches of
vectors, including preprocessing and tokenizing. `bare` is the model alone, on inputs that are already on its device, in
blocks of the same size. Pictures have one shape or `mixed` shapes; for a VLM that reads pictures at their own
resolution, each shape has another number of tokens. A clip is 8 frames; the VLM sees 4 of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import torch

from benchmarks.random_models import siglip2_so400m, vlm_2b, vlm_small, work_of
from fuseid.apps.show import print_rows
from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.devices import pick_device
from fuseid.encoders.vlm import TransformersVlm
from fuseid.pipelines.ingestion.steps import EncodeStep, _frames_of

FRAMES, VLM_FRAMES = 8, 4
CPU = ("ViT-B-32", "VLM small")
MODELS: dict[str, Callable[[Path], str]] = {
    "ViT-B-32": lambda folder: "ViT-B-32/random",
    "ViT-L-14": lambda folder: "ViT-L-14/random",
    "SigLIP2-so400m": lambda folder: f"local-dir:{siglip2_so400m(folder)}",
    "VLM small": lambda folder: str(vlm_small(folder)),
    "VLM 2B": lambda folder: str(vlm_2b(folder)),
}


def shapes_of(case: str, items: int) -> list[tuple[int, int, int]]:
    """Long side 512, as decoding produces it."""
    if case == "clips":
        return [(FRAMES, 288, 512)] * items
    if case == "pictures":
        return [(1, 384, 512)] * items
    sides = np.random.default_rng(1).integers(200, 513, items)
    return [(1, 512, int(side)) if number % 2 else (1, int(side), 512) for number, side in enumerate(sides)]


def seconds(run: Callable[[], None], device: torch.device) -> float:
    """On the CPU, processor time of this process, on one thread: other work on the machine does not count."""
    if device.type == "cpu":
        started = time.process_time()
        run()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def bare_clip(clip: OpenClip, frames: int) -> Callable[[], None]:
    """The image tower on the same number of frames, in blocks of the encoder's size."""
    size = clip._fit(np.zeros((384, 512, 3), np.uint8)).shape
    block = torch.randn(clip.block, 3, *size[:2], device=clip.device, dtype=clip._dtype)

    @torch.inference_mode()
    def run() -> None:
        for _ in range(-(-frames // clip.block)):
            clip._model.encode_image(block)

    return run


def bare_vlm(vlm: TransformersVlm, batch: pa.RecordBatch) -> Callable[[], None]:
    """The model without its output layer on the items' inputs: in blocks if all shapes are equal, else one by one."""
    prepared = [vlm._inputs_of((frames, None)) for frames in _frames_of(batch)]
    equal = len({inputs["input_ids"].shape[1] for inputs in prepared}) == 1
    rows = vlm._rows(prepared[0]) if equal else 1
    groups = [prepared[i : i + rows] for i in range(0, len(prepared), rows)]
    blocks = []
    for group in groups:
        joined = {key: torch.cat([item[key] for item in group]).to(vlm.device) for key in group[0]}
        blocks.append({k: v.to(vlm._model.dtype) if v.is_floating_point() else v for k, v in joined.items()})

    @torch.inference_mode()
    def run() -> None:
        for block in blocks:
            vlm._model.base_model(**block, use_cache=False)

    return run


def measure(name: str, case: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    device = pick_device(arguments.device)
    precision = "fp32" if device.type == "cpu" else "bf16"
    rng = np.random.default_rng(0)
    batch = work_of([rng.integers(0, 256, (*s, 3), dtype=np.uint8) for s in shapes_of(case, arguments.items)])
    settings = {"model": MODELS[name](folder), "precision": precision, "device": arguments.device}
    encoder: Any
    if name.startswith("VLM"):
        encoder = TransformersVlm(VlmConfig(**settings, frames=VLM_FRAMES))
        step, bare = EncodeStep(None, encoder), bare_vlm(encoder, batch)
    else:
        encoder = OpenClip(ClipConfig(**settings))
        frames = arguments.items * (FRAMES if case == "clips" else 1)
        step, bare = EncodeStep(encoder, None), bare_clip(encoder, frames)
    found: dict[str, list[float]] = {"bare": [], "step": []}
    for turn in range(arguments.repeats + 1):
        # The two alternate, so that a slow minute of the machine affects both; the first round only warms up.
        pair = seconds(bare, device), seconds(lambda: step(batch), device)
        if turn:
            found["bare"].append(pair[0])
            found["step"].append(pair[1])
    rates = {kind: arguments.items / statistics.median(times) for kind, times in found.items()}
    row = {"model": name, "precision": precision, "items": case, "bare_items_s": rates["bare"]}
    return row | {"step_items_s": rates["step"], "step_over_bare": rates["step"] / rates["bare"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--items", type=int, help="per measurement; default 32 on the CPU, 512 elsewhere")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", choices=MODELS, action="append", help="default: all, but on the CPU two small ones")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    arguments.items = arguments.items or (32 if device.type == "cpu" else 512)
    rows = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as folder:
        for name in arguments.model or (CPU if device.type == "cpu" else MODELS):
            for case in ("pictures", "mixed", "clips"):
                rows.append(measure(name, case, arguments, Path(folder)))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread, processor time"
    print(
        f"{where}; {arguments.items} items of long side 512; median of {arguments.repeats}; step_over_bare: 1 is best"
    )
    print_rows([{k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows], tuple(rows[0]))
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": where, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
