"""The text tower alone gives the vectors of the whole model, to the last bit, without the libraries of image towers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from fuseid.core.config import ClipConfig
from fuseid.core.errors import ModelError
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.clip_texts import load_clip_texts
from fuseid.encoders.model_files import builtin_directory
from fuseid.encoders.models import load_clip_texts as load_any

TEXTS = [
    "a red apple", "A dog, riding a BICYCLE!", "é", "чёрный кот", "🍎", "x", "1 2 3", "a b " * 60,
    "nai\u0308ve ﬁne   &amp; x", "[PAD] [SEP] [CLS]", "<start_of_text> <end_of_text>",
]  # fmt: skip
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
TOWERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "custom": {"custom_text": True},
    "quick": {"quick_gelu": True},
    "last token, a bias, no mask": {
        "custom_text": True,
        "text_cfg": {"pool_type": "last", "proj_bias": True, "no_causal_mask": True},
    },
    "layer scale, gelu by tanh": {
        "custom_text": True,
        "text_cfg": {"ls_init_value": 0.5, "act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-3}},
    },
}


def saved(folder: Path, changes: dict[str, Any]) -> str:
    """A small model with random weights in the form of a directory; returns its name."""
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        **changes,
        "text_cfg": {**TEXT, **changes.get("text_cfg", {})},
    }
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}), encoding="utf-8")
    torch.manual_seed(1)
    model = open_clip.create_model(f"local-dir:{folder}")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def agree(config: ClipConfig) -> None:
    texts, whole = load_clip_texts(config), OpenClip(config)
    assert texts is not None
    assert (texts.encode_texts(TEXTS) == whole.encode_texts(TEXTS)).all()
    assert texts.fingerprint == whole.fingerprint


def test_the_bundled_model():
    agree(ClipConfig(batch_size=4, device="cpu"))


@pytest.mark.parametrize("name", TOWERS)
def test_models_of_every_form(tmp_path, name):
    agree(ClipConfig(model=saved(tmp_path / "model", TOWERS[name]), batch_size=4, device="cpu"))


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"model": "ViT-B-32/random"}], ids=["bf16", "random"])
def test_what_has_no_text_tower_of_its_own_is_loaded_whole(changes):
    assert load_clip_texts(ClipConfig(device="cpu", **changes)) is None


def test_a_directory_without_weights_is_refused_as_for_the_whole_model(tmp_path):
    directory = tmp_path / "empty"
    shutil.copytree(builtin_directory("builtin:mini-clip"), directory)
    (directory / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load CLIP model"):
        load_any(ClipConfig(model=f"local-dir:{directory}", device="cpu"))


def test_open_clip_is_neither_imported_nor_changed():
    script = """
import sys
from fuseid.core.config import ClipConfig
from fuseid.encoders.clip_texts import load_clip_texts
load_clip_texts(ClipConfig(device="cpu")).encode_texts(["a"])
heavy = {"open_clip", "timm", "torch._dynamo", "torchvision", "transformers"} & sys.modules.keys()
assert not heavy, heavy
from fuseid.encoders.clip import OpenClip
import numpy as np
assert OpenClip(ClipConfig(device="cpu")).encode_frames([np.zeros((8, 8, 3), np.uint8)]).shape == (1, 256)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
