"""The two shipped models load offline as a user loads them, and still reach the figures recorded on a frozen slice."""

import json
import re
import unicodedata
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, AutoProcessor

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "encoders" / "checkpoints"
FOLDER = ROOT / "tests" / "data" / "checkpoint_slice"
SLICE = json.loads((FOLDER / "slice.json").read_text(encoding="utf-8"))
ITEMS, RECORDED = SLICE["items"], SLICE["recorded"]
# A tolerance of one picture: the arithmetic of another CPU may swap two nearly equal neighbours.
SLACK = 1.5 / len(ITEMS)
LARGEST_BYTES = {"mini-clip": 10_000_000, "mini-vlm": 16_000_000}


def pictures(style: str) -> list[Image.Image]:
    """The slice's pictures of one style, in the order of its items."""
    return [Image.open(FOLDER / f"{item['hexcode']}.{SLICE[style]}.webp").convert("RGB") for item in ITEMS]


def recall(queries: torch.Tensor, gallery: torch.Tensor, k: int) -> float:
    """Share of queries [N, E] whose own row of the gallery [N, E] is among the k nearest; ties count against."""
    scores = F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T
    rank = (scores >= scores.diagonal()[:, None]).sum(1) - 1
    return float((rank < k).float().mean())


@pytest.fixture(scope="module")
def clip_vectors() -> dict[str, torch.Tensor]:
    """Vectors [N, E] of the slice's texts and of its pictures in both styles."""
    name = f"local-dir:{CHECKPOINTS / 'mini-clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    with torch.inference_mode():
        found = {"text": model.encode_text(open_clip.get_tokenizer(name)([item["text"] for item in ITEMS]))}
        for style in ("unseen_style", "known_style"):
            found[style] = model.encode_image(torch.stack([preprocess(p) for p in pictures(style)]))
    return found


@pytest.fixture(scope="module")
def vlm() -> tuple:
    """The mini VLM and its processor."""
    folder = CHECKPOINTS / "mini-vlm"
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return model, AutoProcessor.from_pretrained(folder, local_files_only=True)


def vlm_inputs(processor, style: str) -> dict[str, torch.Tensor]:
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "caption"}]}]
    text = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return processor(images=pictures(style), text=[text] * len(ITEMS), padding=True, return_tensors="pt")


@pytest.mark.parametrize("name", sorted(LARGEST_BYTES))
def test_checkpoint_is_small_and_free_of_pickle(name: str) -> None:
    files = [f for f in (CHECKPOINTS / name).rglob("*") if f.is_file()]
    assert {f.suffix for f in files} <= {".safetensors", ".json", ".jinja", ".txt", ".md"}
    assert sum(f.stat().st_size for f in files if f.suffix == ".safetensors") <= LARGEST_BYTES[name]
    assert (CHECKPOINTS / name / "README.md").is_file()


def test_clip_finds_unseen_style_by_words(clip_vectors: dict[str, torch.Tensor]) -> None:
    text, image = clip_vectors["text"], clip_vectors["unseen_style"]
    assert recall(text, image, 1) >= RECORDED["clip_text_to_image_r1"] - SLACK
    assert recall(text, image, 10) >= RECORDED["clip_text_to_image_r10"] - SLACK


def test_clip_finds_the_same_thing_in_another_style(clip_vectors: dict[str, torch.Tensor]) -> None:
    found = recall(clip_vectors["unseen_style"], clip_vectors["known_style"], 1)
    assert found >= RECORDED["clip_image_to_image_r1"] - SLACK


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "figure"),
    [("unseen_style", "vlm_caption_names"), ("known_style", "vlm_caption_names_known_style")],
)
def test_vlm_caption_names_what_is_shown(vlm: tuple, style: str, figure: str) -> None:
    model, processor = vlm
    inputs = vlm_inputs(processor, style)
    with torch.inference_mode():
        tokens = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
    ended = (tokens == model.generation_config.eos_token_id).any(1)
    assert ended.float().mean() > 0.95, "replies must end by themselves"
    named = 0
    for item, reply in zip(ITEMS, processor.batch_decode(tokens, skip_special_tokens=True), strict=True):
        plain = unicodedata.normalize("NFKD", reply.lower()).encode("ascii", "ignore").decode()
        # The slice has singulars: a plural s is removed from the reply as it was from the slice.
        words = [re.sub(r"(?<=..[^s])s$", "", w) for w in re.findall(r"[a-z0-9]+", plain)]
        named += any(f" {name} " in f" {' '.join(words)} " for name in item["named_by"])
    assert named / len(ITEMS) >= RECORDED[figure] - SLACK


@pytest.mark.slow
def test_vlm_states_find_the_same_thing_in_another_style(vlm: tuple) -> None:
    model, processor = vlm
    pooled = {}
    for style in ("unseen_style", "known_style"):
        inputs = vlm_inputs(processor, style)
        with torch.inference_mode():
            states = model(**inputs, output_hidden_states=True).hidden_states[-1]
        mask = inputs["attention_mask"].unsqueeze(-1)
        pooled[style] = (states * mask).sum(1) / mask.sum(1)
    assert recall(pooled["unseen_style"], pooled["known_style"], 1) >= RECORDED["vlm_image_to_image_r1"] - SLACK
