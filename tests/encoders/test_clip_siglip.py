"""SigLIP through the same encoder: squeezed pictures, attention pooling, canonical texts, as open_clip itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fuseid.core.config import ClipConfig
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.model_files import builtin_directory

SIZES = [(80, 80), (160, 120), (50, 200), (300, 17), (1, 1)]
CAPTIONS = ["a red apple", "A dog, riding a BICYCLE!", "a_b-c", "x " * 90, "two boats"]
MODEL = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 96,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    },
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 4800,
        "hf_tokenizer_name": "local",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 2,
        "layers": 2,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
        "act_kwargs": {"approximate": "tanh"},
    },
}
PREPROCESS = {"size": 96, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP of random weights in open_clip's own form, with the bundled CLIP's tokenizer."""
    target = tmp_path_factory.mktemp("siglip") / "model"
    shutil.copytree(builtin_directory("builtin:mini-clip"), target)
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (target / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(3)
    model = open_clip.CustomTextCLIP(**{k: v for k, v in MODEL.items() if k != "custom_text"})
    save_file(model.state_dict(), target / "open_clip_model.safetensors")
    return target


@pytest.fixture(scope="module")
def clip(folder: Path) -> OpenClip:
    return OpenClip(ClipConfig(model=f"local-dir:{folder}", batch_size=3, device="cpu"))


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    coarse = [Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)) for _ in SIZES]
    return [image.resize(size, Image.Resampling.BICUBIC) for image, size in zip(coarse, SIZES, strict=True)]


def test_vectors_are_those_of_open_clip_alone_and_mixed(
    clip: OpenClip, folder: Path, pictures: list[Image.Image]
) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        seen = model.encode_image(torch.stack([preprocess(p) for p in pictures]), normalize=True).numpy()
        read = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS), normalize=True).numpy()
    frames = [np.asarray(p) for p in pictures]
    for ours, alone, theirs in (
        (clip.encode_frames(frames), [clip.encode_frames([f])[0] for f in frames], seen),
        (clip.encode_texts(CAPTIONS), [clip.encode_texts([c])[0] for c in CAPTIONS], read),
    ):
        assert (ours * theirs).sum(1).min() >= 0.9999
        # Not bit for bit: with more than one thread the attention pooling of the last layer goes by place in the block.
        np.testing.assert_allclose(ours, np.stack(alone), rtol=0, atol=3e-7)
        assert len(np.unique(ours.round(4), axis=0)) == len(ours)
