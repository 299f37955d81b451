"""Five families of vision-language models: vectors and replies equal those of plain transformers, in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from fuseid.core.config import VlmConfig
from fuseid.encoders.vlm import TransformersVlm
from fuseid.encoders.vlm_captions import caption_of, tags_of
from fuseid.encoders.vlm_inputs import bucket, shape_class

from . import tiny_vlms

# A warning of PaliGemma's processor about torch's tensors, at the pinned versions.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SYSTEM = "Represent the user's input."
PROMPT = "Say it: {caption}"
SIZES = [(80, 60), (60, 80), (120, 40), (33, 97), (64, 64), (80, 60), (20, 90), (128, 127)]
CAPTIONS = [None, "x", "a red apple", None, "an owl in the snow at night", "a", None, "two boats"]
WORDS = ["a red apple", "three dogs run along the beach at noon with a ball"]
REPLY_TOKENS = 6

Item = tuple[Any, str | None]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    """Pictures of many shapes, a video of five frames, words alone."""
    rng = np.random.default_rng(3)

    def frame(size: tuple[int, int]) -> np.ndarray:
        coarse = Image.fromarray(rng.integers(0, 255, (3, 4, 3), dtype=np.uint8))
        return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))

    pictures: list[Item] = [(frame(size)[None], caption) for size, caption in zip(SIZES, CAPTIONS, strict=True)]
    video = np.stack([frame((70, 50)) for _ in range(5)])
    return [*pictures, (video, "a film"), *(((), words) for words in WORDS)]


class Family:
    """One family's checkpoint: through our encoder, and through transformers as its documentation shows."""

    def __init__(self, folder: Path) -> None:
        settings = {"model": str(folder), "device": "cpu", "frames": 2, "prompt": PROMPT}
        said = {"caption": "What is it?", "tags": "Name tags.", "max_new_tokens": REPLY_TOKENS}
        self.mean = TransformersVlm(VlmConfig(**settings, **said))
        self.last = TransformersVlm(VlmConfig(**settings, pooling="last", system=SYSTEM, dim=16, batch_size=3))
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def inputs(self, frames: Any, text: str, system: str | None = None) -> dict[str, torch.Tensor]:
        # The middles of two halves of five frames.
        pictures = [Image.fromarray(frames[i]) for i in ((1, 3) if len(frames) == 5 else range(len(frames)))]
        if self.processor.chat_template:
            content = [*({"type": "image", "image": p} for p in pictures), {"type": "text", "text": text}]
            turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
            found = self.processor.apply_chat_template(
                [*turns, {"role": "user", "content": content}],
                add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
            )  # fmt: skip
        else:
            text = f"{system}\n{text}" if system else text
            if not pictures:
                found = self.processor.tokenizer([text], return_tensors="pt")
                found["token_type_ids"] = torch.zeros_like(found["input_ids"])
                return found
            found = self.processor(text=["<image>" * len(pictures) + text], images=[pictures], return_tensors="pt")
        found.pop("labels", None)
        return found

    @torch.inference_mode()
    def states(self, item: Item, system: str | None = None) -> torch.Tensor:
        """The last hidden states of the whole model, [T, D]."""
        frames, caption = item
        text = PROMPT.replace("{caption}", caption or "").strip()
        return self.model(**self.inputs(frames, text, system), output_hidden_states=True).hidden_states[-1][0]

    @torch.inference_mode()
    def reply(self, frames: Any, text: str) -> str:
        inputs = self.inputs(frames, text)
        tokens = self.model.generate(**inputs, do_sample=False, max_new_tokens=REPLY_TOKENS)
        return self.processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# Every day the family with the most unusual inputs; the others when the encoder, transformers or torch changes.
EVERYDAY = "qwen3_vl"
EACH = [name if name == EVERYDAY else pytest.param(name, marks=pytest.mark.slow) for name in tiny_vlms.FAMILIES]


@pytest.fixture(scope="module", params=EACH)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(tiny_vlms.save(request.param, tmp_path_factory.mktemp("vlm") / request.param))


def cosines(ours: np.ndarray, theirs: list[torch.Tensor]) -> np.ndarray:
    return (ours * torch.nn.functional.normalize(torch.stack(theirs), dim=-1).numpy()).sum(1)


def test_mean_pooled_vectors_equal_those_of_plain_transformers(family: Family, items: list[Item]) -> None:
    theirs = [family.states(item).mean(0) for item in items]
    assert cosines(family.mean.encode_items(items), theirs).min() >= 0.9999


def test_last_token_under_a_system_prompt_cut_to_its_first_numbers(family: Family, items: list[Item]) -> None:
    theirs = [family.states(item, SYSTEM)[-1, :16] for item in items]
    ours = family.last.encode_items(items)
    assert ours.shape == (len(items), family.last.dim) == (len(items), 16)
    assert cosines(ours, theirs).min() >= 0.9999


def test_alone_in_a_mixed_padded_batch_and_backwards_the_bits_are_the_same(family: Family, items: list[Item]) -> None:
    for vlm in (family.mean, family.last):
        together = vlm.encode_items(items)
        np.testing.assert_array_equal(together, np.concatenate([vlm.encode_items([item]) for item in items]))
        np.testing.assert_array_equal(together, vlm.encode_items(items[::-1])[::-1])
        assert len(np.unique(together.round(3), axis=0)) == len(items), "items must differ, else this shows nothing"


def test_the_batch_is_mixed_and_padded(family: Family, items: list[Item]) -> None:
    """Otherwise the test before this one would prove nothing."""
    prepared = [family.mean._inputs_of(item) for item in items]
    lengths = [inputs["input_ids"].shape[1] for inputs in prepared]
    assert any(bucket(length) > length for length in lengths)
    assert 1 < len({shape_class(inputs) for inputs in prepared}) < len(items)


def test_replies_are_those_of_plain_transformers_whatever_shares_the_batch(family: Family, items: list[Item]) -> None:
    frames = [item[0] for item in items if len(item[0])]
    replies = family.mean._answers(frames, "What is it?")
    assert replies == [family.reply(item, "What is it?") for item in frames]
    assert replies[::-1] == family.mean._answers(frames[::-1], "What is it?")
    assert len(set(replies)) > 1


def test_a_description_answers_the_questions_asked(family: Family, items: list[Item]) -> None:
    frames = [items[0][0], items[2][0]]
    said = family.mean.describe(frames)
    assert [s.caption for s in said] == [caption_of(family.reply(f, "What is it?")) for f in frames]
    assert [s.tags for s in said] == [tags_of(family.reply(f, "Name tags.")) for f in frames]
    assert [(s.caption, s.tags) for s in family.last.describe(frames)] == [(None, None)] * 2
