"""Converts frames and text to a VLM's tensors, and tensors of several items to one padded block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from fuseid.encoders.vlm_reading import spread

Inputs = dict[str, torch.Tensor]

# Tokens of a caption that a VLM reads: a longer text adds little and makes attention expensive.
MAX_CAPTION_TOKENS = 1024
# Per token, 0 for text. Some families build the attention mask from it, so leaving it out changes the result.
_TOKEN_TYPES = {"token_type_ids", "mm_token_type_ids"}


class InputMaker:
    """Passes prompts and pictures through a checkpoint's own processor, one item at a time.

    Every frame is passed as a separate image: all families accept several images, few accept frames of a video.
    """

    def __init__(self, processor: Any, frames: int) -> None:
        self._processor = processor
        self._frames = frames
        tokenizer = processor.tokenizer
        self.pad_id = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
        longest = min(tokenizer.model_max_length, 2 * MAX_CAPTION_TOKENS)
        self._caption_tokens = max(longest // 2, 1)
        special = [
            re.escape(str(token)) for token in tokenizer.added_tokens_decoder.values() if not str(token).isspace()
        ]
        self._special = re.compile("|".join(sorted(special, key=len, reverse=True)) or r"(?!)")

    def words(self, caption: str | None) -> str | None:
        """A caption without the checkpoint's special tokens, cut to the number of tokens that fit."""
        if caption is None:
            return None
        while self._special.search(caption):
            caption = " ".join(self._special.sub(" ", caption).split())
        # Few tokens are longer than 16 characters; tokenizing 100,000 characters to keep 1,000 tokens would be a waste.
        caption = caption[: 16 * self._caption_tokens]
        if len(caption) <= self._caption_tokens:
            return caption
        if not self._processor.tokenizer.is_fast:
            return caption[: self._caption_tokens]
        # Not by the tokenizer's own truncation, which is state shared between threads.
        found = self._processor.tokenizer(caption, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ends = [end for _, end in found["offset_mapping"][: self._caption_tokens]]
        return caption[: max(ends, default=0)]

    def __call__(self, frames: Sequence[np.ndarray], text: str, system: str | None = None, suffix: str = "") -> Inputs:
        """frames: uint8 [H, W, 3] each, of which evenly spread ones are used; empty for text alone -> tensors of a
        batch of one, without padding."""
        pictures = [Image.fromarray(frames[i]) for i in spread(len(frames), self._frames)]
        prompt = self._render(len(pictures), text, system) + suffix
        tokenizer = self._processor.tokenizer
        # Templates already write the first special token; the tokenizer would add it again.
        options: dict[str, Any] = {"return_tensors": "pt"}
        if tokenizer.bos_token is not None and prompt.startswith(tokenizer.bos_token):
            options["add_special_tokens"] = False
        if pictures:
            found = self._processor(text=[prompt], images=[pictures], **options)
        else:
            # Not every processor accepts text alone; those that do return the same as this.
            found = tokenizer([prompt], **options)
            for name in _TOKEN_TYPES & set(self._processor.model_input_names):
                found[name] = torch.zeros_like(found["input_ids"])
        # Some processors always add labels, which are for training.
        return {key: value for key, value in found.items() if isinstance(value, torch.Tensor) and key != "labels"}

    def _render(self, pictures: int, text: str, system: str | None) -> str:
        if not getattr(self._processor, "chat_template", None):
            token = getattr(self._processor, "image_token", "<image>")
            return token * pictures + "\n".join(part for part in (system, text) if part)
        content: list[dict[str, str]] = [{"type": "image"}] * pictures
        if text or not pictures:
            content = [*content, {"type": "text", "text": text}]
        turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
        turns.append({"role": "user", "content": content})
        return self._processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def bucket(length: int) -> int:
    """A length in tokens, rounded up; from 64 on, by at most an eighth. So many items share one of a few lengths."""
    step = max(8, 1 << max(length.bit_length() - 4, 0))
    return -(-length // step) * step


def shape_class(inputs: Inputs) -> tuple:
    """Items of one class can share a block. It depends only on the item, so neighbours never change its padding."""
    tokens = inputs["input_ids"].shape
    others = ((key, tuple(value.shape)) for key, value in sorted(inputs.items()) if value.shape != tokens)
    return (bucket(tokens[1]), *others)


def collate(items: Sequence[Inputs], pad_id: int, side: str) -> Inputs:
    """Joins inputs of one shape class, each a batch of one, into one batch.

    Per-token tensors [1, L] are padded to the class's length at `side`, left or right. All others have equal shapes and
    are joined along their first dimension: items for most families, or the patches of all items.
    """
    length = bucket(items[0]["input_ids"].shape[1])
    columns: dict[str, list[torch.Tensor]] = {key: [] for key in items[0]}
    for item in items:
        tokens = item["input_ids"].shape
        missing = length - tokens[1]
        for key, value in item.items():
            if value.shape == tokens:
                padding = (missing, 0) if side == "left" else (0, missing)
                fill = pad_id if key == "input_ids" else 0
                value = torch.nn.functional.pad(value, padding, value=fill)
            columns[key].append(value)
    return {key: torch.cat(values) for key, values in columns.items()}


def pool(states_BLD: torch.Tensor, mask_BL: torch.Tensor, pooling: str) -> torch.Tensor:
    """Last hidden states, padded on the right -> [B, D] float32: the mean over real tokens, or the last real token."""
    if pooling == "last":
        last = mask_BL.sum(1) - 1
        return states_BLD[torch.arange(len(last), device=last.device), last].float()
    weights = mask_BL.unsqueeze(-1).float()
    return (states_BLD.float() * weights).sum(1) / weights.sum(1)
