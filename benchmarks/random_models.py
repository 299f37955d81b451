"""Inputs of the encoder benchmarks: checkpoints with random weights, and batches in the form that decoding produces."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForImageTextToText,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.utils import logging as transformers_logging

from fuseid.core.records import Decoded
from fuseid.core.schemas import WORK
from fuseid.encoders.model_files import builtin_directory
from fuseid.pipelines.ingestion.steps import _with_frames

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "encoders"))
from tiny_vlms import qwen3_vl

# Like Qwen3-VL-2B: pictures at their own resolution, patches of 16 pixels, four patches per token.
_PIXELS = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16}
_KIND = _PIXELS | {"temporal_patch_size": 2, "merge_size": 2}


def vlm_2b(folder: Path) -> Path:
    """The shape of Qwen3-VL-2B."""
    text = {
        "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    }  # fmt: skip
    vision = {
        "hidden_size": 1024, "intermediate_size": 4096, "depth": 24, "num_heads": 16,
        "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
    }  # fmt: skip
    return _qwen3_vl(folder / "vlm-2b", text, vision, [24, 20, 20])


def vlm_small(folder: Path) -> Path:
    """The same architecture, small enough for two cores: 6 + 6 layers, width 384."""
    text = {
        "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6,
        "num_key_value_heads": 6, "head_dim": 64, "vocab_size": 8192,
    }  # fmt: skip
    vision = {
        "hidden_size": 384, "intermediate_size": 1024, "depth": 6, "num_heads": 6,
        "num_position_embeddings": 1024, "deepstack_visual_indexes": [1, 3],
    }  # fmt: skip
    return _qwen3_vl(folder / "vlm-small", text, vision, [12, 10, 10])


def _qwen3_vl(folder: Path, text: dict[str, Any], vision: dict[str, Any], section: list[int]) -> Path:
    if folder.exists():
        return folder
    transformers_logging.disable_progress_bar()
    small, tiny = qwen3_vl()
    template = tiny.chat_template
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(**_KIND), tiny.tokenizer, Qwen3VLVideoProcessor(**_KIND), chat_template=template
    )
    ids = {name: value for name, value in small.to_dict().items() if name.endswith("_token_id")}
    rope = {"rope_type": "default", "mrope_section": section, "rope_theta": 5e6, "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=text | {"rope_parameters": rope, "tie_word_embeddings": True},
        vision_config=vision | {"patch_size": 16, "out_hidden_size": text["hidden_size"], "spatial_merge_size": 2},
        tie_word_embeddings=True,
        **ids,
    )
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def siglip2_so400m(folder: Path) -> Path:
    """ViT-SO400M-14-SigLIP2 of open_clip, with the bundled CLIP's tokenizer: its own is on the hub."""
    folder = folder / "so400m"
    if folder.exists():
        return folder
    shutil.copytree(builtin_directory("builtin:mini-clip"), folder)
    model_config = open_clip.get_model_config("ViT-SO400M-14-SigLIP2")
    model_config["text_cfg"]["hf_tokenizer_name"] = "local"
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-SO400M-14-SigLIP2")
    preprocess = {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    described = {"model_cfg": model_config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(described), encoding="utf-8")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def work_of(items: list[np.ndarray]) -> pa.RecordBatch:
    """A batch in the form that decoding produces: frames uint8 [T, H, W, 3] each."""
    rows, decoded = [], []
    for number, frames in enumerate(items):
        row: dict[str, Any] = dict.fromkeys(WORK.names)
        row.update(content_id=str(number), kind="image", want_media=True, want_text=False)
        rows.append(row)
        decoded.append(Decoded(frames, np.zeros(len(frames)), frames.shape[2], frames.shape[1], 0.0, "", "pillow"))
    return _with_frames(rows, decoded)
