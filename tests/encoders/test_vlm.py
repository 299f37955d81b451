"""The VLM encoder: plain transformers' numbers, whatever shares the batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fuseid.core.config import VlmConfig
from fuseid.core.errors import ModelError
from fuseid.encoders.model_files import builtin_directory
from fuseid.encoders.vlm import TransformersVlm, vlm_fingerprint

CONFIG = VlmConfig(model="builtin:mini-vlm", prompt="caption")


@pytest.fixture(scope="module")
def vlm() -> TransformersVlm:
    return TransformersVlm(CONFIG)


@pytest.fixture(scope="module")
def items() -> list[tuple[np.ndarray | tuple, str | None]]:
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 255, (frames, 90 + 7 * frames, 120, 3), dtype=np.uint8) for frames in (1, 1, 3, 8)]
    return [*((p, None) for p in pictures), ((), "a red apple"), ((), "three dogs run along the beach")]


def test_a_vector_is_that_of_plain_transformers(vlm: TransformersVlm, items: list) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = builtin_directory("builtin:mini-vlm")
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": "caption"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=[Image.fromarray(items[0][0][0])], text=[prompt], return_tensors="pt")
    with torch.inference_mode():
        plain = model(**inputs, output_hidden_states=True).hidden_states[-1].mean(1)[0].numpy()
    ours = vlm.encode_items(items)[0]
    assert ours @ plain / np.linalg.norm(plain) >= 0.999


def test_alone_and_in_a_mixed_batch_the_bits_are_the_same(vlm: TransformersVlm, items: list) -> None:
    together = vlm.encode_items(items)
    backwards = vlm.encode_items(items[::-1])[::-1]
    alone = np.concatenate([vlm.encode_items([item]) for item in items])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert len(np.unique(together.round(4), axis=0)) == len(items)


def test_the_fingerprint_knows_prompt_pooling_and_frames_but_not_the_batch(vlm: TransformersVlm) -> None:
    assert vlm.fingerprint == vlm_fingerprint(CONFIG)
    assert vlm.fingerprint == vlm_fingerprint(CONFIG.model_copy(update={"batch_size": 3, "device": "cpu"}))
    for change in ({"prompt": "tags"}, {"pooling": "last"}, {"frames": 2}, {"precision": "bf16"}):
        assert vlm.fingerprint != vlm_fingerprint(CONFIG.model_copy(update=change))


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    for name in ("builtin:nothing", str(tmp_path), "no-such-org/no-such-model"):
        with pytest.raises(ModelError) as caught:
            TransformersVlm(VlmConfig(model=name))
        assert "\n" not in str(caught.value)
