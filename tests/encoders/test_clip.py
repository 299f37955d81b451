"""CLIP vectors are open_clip's own, and a row's bits never depend on its batch."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from fuseid.core.config import ClipConfig
from fuseid.core.errors import ConfigError, ModelError
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.model_files import builtin_directory
from fuseid.encoders.model_identity import clip_fingerprint

MINI = builtin_directory("builtin:mini-clip")
SIZES = [(80, 80), (160, 120), (50, 200), (512, 384), (81, 79), (1, 1), (300, 17)]
CAPTIONS = ["a red apple", "A dog, riding a BICYCLE!", "é", "чёрный кот", "🍎", "x", "1 2 3", "a b " * 9]


def picture(width: int, height: int, seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(map(int, generator.integers(0, 256, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        corners = generator.uniform(0, 1, 4) * (width, height, width, height)
        x, y = sorted(corners[::2]), sorted(corners[1::2])
        draw.ellipse((x[0], y[0], x[1], y[1]), fill=tuple(map(int, generator.integers(0, 256, 3))))
    return image


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [picture(*size, seed) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def frames(pictures: list[Image.Image]) -> list[np.ndarray]:
    return [np.asarray(image) for image in pictures]


@pytest.fixture(scope="module")
def clip() -> OpenClip:
    # Smaller than the number of pictures and of captions, so that batches have full blocks and tails.
    return OpenClip(ClipConfig(batch_size=4, device="cpu"))


@pytest.fixture(scope="module")
def frames_alone(clip: OpenClip, frames: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([clip.encode_frames([frame]) for frame in frames])


@pytest.fixture(scope="module")
def captions_alone(clip: OpenClip) -> np.ndarray:
    return np.concatenate([clip.encode_texts([caption]) for caption in CAPTIONS])


@pytest.fixture(scope="module")
def reference() -> tuple[torch.nn.Module, object, object]:
    name = f"local-dir:{MINI}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return model.eval(), preprocess, open_clip.get_tokenizer(name)


def cosines(ours: np.ndarray, theirs: torch.Tensor) -> np.ndarray:
    return (ours * torch.nn.functional.normalize(theirs, dim=-1).numpy()).sum(1)


def test_picture_vectors_equal_those_of_open_clip(clip, reference, pictures, frames, frames_alone):
    model, preprocess, _ = reference
    with torch.inference_mode():
        theirs = model.encode_image(torch.stack([preprocess(image) for image in pictures]))
    assert cosines(clip.encode_frames(frames), theirs).min() >= 0.999
    assert cosines(frames_alone, theirs).min() >= 0.999


def test_caption_vectors_equal_those_of_open_clip(clip, reference, captions_alone):
    model, _, tokenize = reference
    with torch.inference_mode():
        theirs = model.encode_text(tokenize(CAPTIONS))
    assert cosines(clip.encode_texts(CAPTIONS), theirs).min() >= 0.999
    assert cosines(captions_alone, theirs).min() >= 0.999


def test_different_inputs_have_different_vectors(frames_alone, captions_alone):
    # Guards the tests around this one: a model that gives one vector to all would pass them.
    assert len(np.unique(frames_alone, axis=0)) == len(SIZES)
    assert len(np.unique(captions_alone, axis=0)) == len(CAPTIONS)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6], [6, 3, 3, 5, 1, 0]], ids=str)
def test_a_picture_has_the_same_bits_alone_and_anywhere_in_a_batch(clip, frames, frames_alone, order):
    assert np.array_equal(clip.encode_frames([frames[i] for i in order]), frames_alone[order])


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [7, 5, 5, 2, 0]], ids=str)
def test_a_caption_has_the_same_bits_alone_and_anywhere_in_a_batch(clip, captions_alone, order):
    assert np.array_equal(clip.encode_texts([CAPTIONS[i] for i in order]), captions_alone[order])


def test_bits_do_not_depend_on_the_batch_with_two_threads_either(clip, frames):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for encode, inputs in ((clip.encode_frames, frames), (clip.encode_texts, CAPTIONS)):
            assert np.array_equal(encode(inputs)[[1, 6]], np.concatenate([encode([inputs[1]]), encode([inputs[6]])]))
    finally:
        torch.set_num_threads(before)


def test_vectors_are_float32_of_unit_norm_and_of_the_stated_size(clip, frames_alone, captions_alone):
    for vectors in (frames_alone, captions_alone):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == clip.dim
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_an_overlong_caption_is_cut_not_refused(clip):
    long, longer = clip.encode_texts(["word " * 500, "word " * 20_000])
    assert np.isfinite(long).all()
    assert np.array_equal(long, longer)


def test_a_second_model_gives_the_same_bits(frames, frames_alone, captions_alone):
    again = OpenClip(ClipConfig(batch_size=4, device="cpu"))
    assert np.array_equal(again.encode_frames(frames[:1])[0], frames_alone[0])
    assert np.array_equal(again.encode_texts(CAPTIONS[:1])[0], captions_alone[0])


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ("builtin:maxi-clip", "builtin:mini-clip"),
        ("builtin:", "builtin:mini-clip"),
        ("builtin:../checkpoints/mini-clip", "builtin:mini-clip"),
        ("builtin:..", "builtin:mini-clip"),
        ("local-dir:no/such/place", "no/such/place"),
        ("hub:ORG/REPO", "hf-hub:"),
        ("ViT-B-31/openai", "ViT-B-31"),
        ("ViT-B-32", "laion2b_s34b_b79k"),
        ("ViT-B-32/laion2b_s34b_b80k", "did you mean laion2b_s34b_b79k"),
        ("", "list_models"),
    ],
)
def test_an_unknown_model_is_refused_in_one_line_that_names_the_known_ones(model, named):
    config = ClipConfig(model=model)
    for use in (OpenClip, clip_fingerprint):
        with pytest.raises(ModelError) as caught:
            use(config)
        assert "\n" not in str(caught.value)
        assert named in str(caught.value)


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"open_clip_config\.json"):
        OpenClip(ClipConfig(model=f"local-dir:{tmp_path}"))


def test_damaged_weights_are_refused_in_one_line(tmp_path):
    copy = Path(shutil.copytree(MINI, tmp_path / "copy"))
    weights = copy / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot load CLIP model local-dir:") as caught:
        OpenClip(ClipConfig(model=f"local-dir:{copy}", device="cpu"))
    assert "\n" not in str(caught.value)


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="abacus"):
        OpenClip(ClipConfig(device="abacus"))


def test_a_fingerprint_depends_on_the_files_of_a_directory_not_on_its_path(tmp_path):
    builtin = clip_fingerprint(ClipConfig())
    copy = Path(shutil.copytree(MINI, tmp_path / "copy"))
    assert clip_fingerprint(ClipConfig(model=f"local-dir:{copy}")) == builtin
    weights = copy / "open_clip_model.safetensors"
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(blob)
    assert clip_fingerprint(ClipConfig(model=f"local-dir:{copy}")) != builtin


def test_the_fingerprint_depends_on_precision_but_not_on_device_or_batch_size(clip):
    assert clip.fingerprint == clip_fingerprint(ClipConfig())
    assert clip_fingerprint(ClipConfig(batch_size=7, device="cuda")) == clip.fingerprint
    assert clip_fingerprint(ClipConfig(precision="bf16")) != clip.fingerprint
    assert clip_fingerprint(ClipConfig(model="ViT-B-32/random")) != clip.fingerprint


# SigLIP through the same encoder: squeezed pictures, attention pooling, canonical texts.

SIGLIP_SIZES = [(80, 80), (160, 120), (50, 200), (300, 17), (1, 1)]
SIGLIP_CAPTIONS = ["a red apple", "A dog, riding a BICYCLE!", "a_b-c", "x " * 90, "two boats"]
SIGLIP = {
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
SIGLIP_PREPROCESS = {
    "size": 96,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP of random weights in open_clip's own form, with the bundled CLIP's tokenizer."""
    target = tmp_path_factory.mktemp("siglip") / "model"
    shutil.copytree(builtin_directory("builtin:mini-clip"), target)
    config = {"model_cfg": SIGLIP, "preprocess_cfg": SIGLIP_PREPROCESS}
    (target / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(3)
    model = open_clip.CustomTextCLIP(**{k: v for k, v in SIGLIP.items() if k != "custom_text"})
    save_file(model.state_dict(), target / "open_clip_model.safetensors")
    return target


@pytest.fixture(scope="module")
def siglip(siglip_folder: Path) -> OpenClip:
    return OpenClip(ClipConfig(model=f"local-dir:{siglip_folder}", batch_size=3, device="cpu"))


@pytest.fixture(scope="module")
def siglip_pictures() -> list[Image.Image]:
    rng = np.random.default_rng(1)
    coarse = [Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)) for _ in SIGLIP_SIZES]
    return [image.resize(size, Image.Resampling.BICUBIC) for image, size in zip(coarse, SIGLIP_SIZES, strict=True)]


def test_siglip_vectors_equal_those_of_open_clip_alone_and_mixed(
    siglip: OpenClip, siglip_folder: Path, siglip_pictures: list[Image.Image]
) -> None:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{siglip_folder}")
    model.eval()
    with torch.inference_mode():
        seen = model.encode_image(torch.stack([preprocess(p) for p in siglip_pictures]), normalize=True).numpy()
        read = model.encode_text(
            open_clip.get_tokenizer(f"local-dir:{siglip_folder}")(SIGLIP_CAPTIONS), normalize=True
        ).numpy()
    frames = [np.asarray(p) for p in siglip_pictures]
    for ours, alone, theirs in (
        (siglip.encode_frames(frames), [siglip.encode_frames([f])[0] for f in frames], seen),
        (siglip.encode_texts(SIGLIP_CAPTIONS), [siglip.encode_texts([c])[0] for c in SIGLIP_CAPTIONS], read),
    ):
        assert (ours * theirs).sum(1).min() >= 0.9999
        # Not bit for bit: with several threads the last attention pooling depends on the place in the block.
        np.testing.assert_allclose(ours, np.stack(alone), rtol=0, atol=3e-7)
        assert len(np.unique(ours.round(4), axis=0)) == len(ours)


def test_pictures_prepared_by_threads_give_the_same_vectors(clip, monkeypatch):
    """As where torch has several threads, or an accelerator."""
    frames = [np.asarray(picture(50 + 3 * number, 60, number)) for number in range(20)]
    expected = clip.encode_frames(frames)
    with ThreadPoolExecutor(4) as threads:
        monkeypatch.setattr(clip, "_threads", threads)
        np.testing.assert_array_equal(clip.encode_frames(frames), expected)


THIN = [(512, 1), (512, 2), (512, 3), (161, 1), (160, 1), (159, 1), (1, 512), (2, 512), (1, 160), (1, 1), (2, 3)]


@pytest.mark.parametrize("mode", ["longest", "shortest", "squash"])
def test_no_side_of_a_thin_picture_is_reduced_to_nothing(clip, monkeypatch, mode):
    """Under every way in which open_clip's models resize."""
    cfg = open_clip.transform.PreprocessCfg(size=80, resize_mode=mode)
    *geometry, _, _, _ = open_clip.transform.image_transform_v2(cfg, is_train=False).transforms
    monkeypatch.setattr(clip, "_geometry", geometry)
    for width, height in THIN:
        fitted = clip._fit(np.asarray(picture(width, height, 1)))
        assert fitted.shape == (80, 80, 3), (width, height)
    vectors = clip.encode_frames([np.asarray(picture(*size, 1)) for size in THIN])
    assert np.isfinite(vectors).all()
