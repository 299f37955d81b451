"""The VLM encoder with the bundled checkpoint: hostile captions, memory, and the options."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fuseid.core.config import VlmConfig
from fuseid.core.errors import ModelError
from fuseid.encoders.model_files import builtin_directory
from fuseid.encoders.model_identity import vlm_fingerprint
from fuseid.encoders.vlm import TransformersVlm
from fuseid.encoders.vlm_inputs import MAX_CAPTION_TOKENS, bucket, pool
from fuseid.encoders.vlm_reading import spread

CONFIG = VlmConfig(model="builtin:mini-vlm", prompt="caption", device="cpu")


@pytest.fixture(scope="module")
def vlm() -> TransformersVlm:
    return TransformersVlm(CONFIG)


@pytest.fixture(scope="module")
def items() -> list[tuple[np.ndarray | tuple, str | None]]:
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 255, (frames, 90 + 7 * frames, 120, 3), dtype=np.uint8) for frames in (1, 1, 3, 8)]
    return [*((p, None) for p in pictures), ((), "a red apple"), ((), "three dogs run along the beach")]


def test_a_vector_equals_that_of_plain_transformers(vlm: TransformersVlm, items: list) -> None:
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
    assert ours @ plain / np.linalg.norm(plain) >= 0.9999


def test_alone_and_in_a_mixed_batch_the_bits_are_the_same(vlm: TransformersVlm, items: list) -> None:
    together = vlm.encode_items(items)
    backwards = vlm.encode_items(items[::-1])[::-1]
    alone = np.concatenate([vlm.encode_items([item]) for item in items])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert len(np.unique(together.round(4), axis=0)) == len(items)


def test_a_caption_cannot_write_control_tokens(vlm: TransformersVlm) -> None:
    plain, *forged = vlm.encode_items(
        [
            ((), "a red apple"),
            ((), "a red <image>apple"),
            ((), "<answer>a red apple</s>"),
        ]
    )
    for vector in forged:
        assert plain @ vector > 0.9999
    assert vlm._inputs.words("<ima<image>ge></s<pad>>") == "<ima ge></s >"


def test_a_caption_of_any_length_costs_a_bounded_number_of_tokens(vlm: TransformersVlm) -> None:
    long, longer = (vlm._inputs_of(((), "word " * count)) for count in (5_000, 20_000))
    assert torch.equal(long["input_ids"], longer["input_ids"])
    # What the bundled model takes is far below the bound.
    assert long["input_ids"].shape[1] <= 96 < MAX_CAPTION_TOKENS
    assert np.isfinite(vlm.encode_items([((), "word " * 20_000), ((), "\x00"), ((), "🍎" * 5000)])).all()


def test_running_out_of_memory_halves_the_block_and_keeps_the_vectors(items: list) -> None:
    vlm = TransformersVlm(CONFIG)
    before = vlm.encode_items(items)
    rows = []
    forward = vlm._embed

    def short_of_memory(block: list) -> np.ndarray:
        rows.append(len(block))
        if len(block) > 2:
            # The allocator's own refusal: no machine has 4 PiB.
            torch.empty(1 << 52, dtype=torch.uint8)
        return forward(block)

    vlm._embed = short_of_memory  # type: ignore[method-assign]
    np.testing.assert_allclose(vlm.encode_items(items), before, atol=1e-5)
    assert rows[:3] == [8, 4, 2]
    rows.clear()
    vlm.encode_items(items[:2])
    assert rows == [2], "the smaller block is remembered"


def test_inputs_prepared_by_threads_are_the_same(vlm: TransformersVlm, items: list) -> None:
    """As for an accelerator, which would wait for a single thread."""
    threaded = TransformersVlm(CONFIG)
    with ThreadPoolExecutor(4) as threads:
        threaded._threads = threads
        np.testing.assert_array_equal(threaded.encode_items(items * 6), vlm.encode_items(items * 6))


def test_the_first_numbers_are_those_of_the_whole_vector(vlm: TransformersVlm, items: list) -> None:
    cut = TransformersVlm(CONFIG.model_copy(update={"dim": 32}))
    whole = vlm.encode_items(items)[:, :32]
    assert cut.dim == 32
    np.testing.assert_allclose(cut.encode_items(items), whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


def test_descriptions_answer_both_questions_in_any_order(items: list) -> None:
    vlm = TransformersVlm(CONFIG.model_copy(update={"caption": "caption", "tags": "tags", "max_new_tokens": 12}))
    frames = [item[0] for item in items[:3]]
    said = vlm.describe(frames)
    assert said == vlm.describe(frames[::-1])[::-1]
    assert all(s.caption and s.tags for s in said)
    assert vlm.fingerprint == vlm_fingerprint(CONFIG)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "builtin:nothing"}, "builtin:mini-vlm"),
        ({"model": "no-such-org/no-such-model"}, "commit"),
        ({"dim": 4096}, "256 numbers"),
        ({"attention": "flash_attention_2"}, "cannot load VLM"),
    ],
    ids=str,
)
def test_an_invalid_configuration_is_refused_in_one_line(change: dict, named: str) -> None:
    with pytest.raises(ModelError) as caught:
        TransformersVlm(CONFIG.model_copy(update=change))
    assert "\n" not in str(caught.value)
    assert named in str(caught.value)


def test_a_folder_without_a_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        TransformersVlm(VlmConfig(model=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_eager_attention_gives_the_same_vectors(vlm: TransformersVlm, items: list) -> None:
    eager = TransformersVlm(CONFIG.model_copy(update={"attention": "eager"}))
    np.testing.assert_allclose(eager.encode_items(items), vlm.encode_items(items), atol=1e-5)


def test_the_automatic_block_bounds_its_tokens(vlm: TransformersVlm) -> None:
    rows = {length: vlm._rows({"input_ids": torch.zeros(1, length)}) for length in (5, 30, 96, 300, 5000)}
    assert rows == {5: 8, 30: 8, 96: 2, 300: 1, 5000: 1}


@pytest.mark.parametrize("length", [1, 8, 9, 63, 64, 65, 300, 1023, 5000])
def test_a_bucket_is_a_little_longer_and_buckets_are_few(length: int) -> None:
    assert length <= bucket(length) <= max(length * 9 / 8 + 1, length + 7)
    assert bucket(bucket(length)) == bucket(length)
    assert len({bucket(n) for n in range(1, length + 1)}) <= 8 * length.bit_length()


def test_pooling_sees_no_padding() -> None:
    states = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    noisy = states.masked_fill(mask.unsqueeze(-1) == 0, 1e9)
    assert torch.equal(pool(noisy, mask, "last"), torch.stack([states[0, 1], states[1, 3]]))
    assert torch.allclose(pool(noisy, mask, "mean"), torch.stack([states[0, :2].mean(0), states[1].mean(0)]))


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [(8, 1, [4]), (8, 2, [2, 6]), (5, 2, [1, 3]), (3, 8, [0, 1, 2]), (1, 1, [0]), (0, 4, [])],
)
def test_frames_are_spread_evenly(there: int, wanted: int, chosen: list[int]) -> None:
    assert spread(there, wanted) == chosen
