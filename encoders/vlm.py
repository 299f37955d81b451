"""A vision-language model through transformers: an item's frames, or its caption, to one unit vector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from fuseid.core.config import VlmConfig
from fuseid.core.errors import ModelError
from fuseid.core.fingerprints import fingerprint
from fuseid.encoders.blocks import blocks, unit_rows
from fuseid.encoders.devices import pick_device
from fuseid.encoders.model_files import BUILTIN, builtin_directory, directory_hash

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TransformersVlm:
    """Any image-text-to-text checkpoint as a `VlmLike`: the last hidden states given frames and prompt, pooled.

    Items whose inputs have the same shapes run together in padded blocks of one size, so no item ever sees padding
    tokens and its bits do not depend on its neighbours. Only safetensors weights, never remote code.
    Raises ModelError, in one line, for a checkpoint that cannot be loaded.
    """

    def __init__(self, config: VlmConfig) -> None:
        self._config = config
        self.block = config.batch_size
        self.device = pick_device(config.device)
        name, files_hash = resolve(config)
        transformers_logging.disable_progress_bar()
        options: dict[str, Any] = {"revision": config.revision} if config.revision else {}
        try:
            self._processor = AutoProcessor.from_pretrained(name, trust_remote_code=False, **options)
            model = AutoModelForImageTextToText.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, dtype=_DTYPES[config.precision], **options
            )
        except Exception as error:
            raise ModelError(
                f"cannot load VLM {config.model}: {(str(error) or type(error).__name__).splitlines()[0][:300]}"
            ) from error
        self._model = model.eval().to(self.device)
        self.fingerprint = vlm_fingerprint(config, files_hash)
        self.dim = int(self.encode_items([((), "a")]).shape[1])

    def encode_items(self, items: Sequence[tuple[Sequence[np.ndarray], str | None]]) -> np.ndarray:
        """(frames uint8 [T, H, W, 3] or none, caption) each -> float32 [N, dim], unit norm.

        At most `vlm.frames` frames are used, spread evenly. The caption speaks only for an item without frames.
        """
        prepared = [self._prepare(frames, caption) for frames, caption in items]
        groups: dict[tuple, list[int]] = defaultdict(list)
        for index, inputs in enumerate(prepared):
            groups[tuple((key, tuple(value.shape)) for key, value in sorted(inputs.items()))].append(index)
        out: list[np.ndarray | None] = [None] * len(items)
        for indices in groups.values():
            for group in blocks(indices, self.block):
                padded = [*group, *[group[-1]] * (self.block - len(group))]
                pooled = self._forward([prepared[index] for index in padded])
                for index, vector in zip(group, pooled, strict=False):
                    out[index] = vector
        return unit_rows(np.stack([vector for vector in out if vector is not None]))

    def _prepare(self, frames: Sequence[np.ndarray], caption: str | None) -> dict[str, torch.Tensor]:
        chosen: list[Image.Image] = []
        if len(frames):
            count = min(self._config.frames, len(frames))
            middle = (np.arange(count) * 2 + 1) * len(frames) // (2 * count)
            chosen = [Image.fromarray(frames[int(index)]) for index in middle]
        text = self._prompt(len(chosen), self._config.prompt if chosen else f"{self._config.prompt} {caption or ''}")
        arguments: dict[str, Any] = {"text": [text], "return_tensors": "pt"}
        if chosen:
            arguments["images"] = [chosen]
        return {key: value for key, value in self._processor(**arguments).items() if isinstance(value, torch.Tensor)}

    def _prompt(self, pictures: int, text: str) -> str:
        if getattr(self._processor, "chat_template", None):
            content = [*({"type": "image"} for _ in range(pictures)), {"type": "text", "text": text}]
            return self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
        token = getattr(self._processor, "image_token", "<image>")
        return token * pictures + text

    @torch.inference_mode()
    def _forward(self, items: Sequence[dict[str, torch.Tensor]]) -> np.ndarray:
        inputs = {key: torch.cat([item[key] for item in items]).to(self.device) for key in items[0]}
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        states = self._model(**inputs, output_hidden_states=True, use_cache=False).hidden_states[-1]
        pooled = states[:, -1] if self._config.pooling == "last" else states.mean(1)
        return pooled.float().cpu().numpy()


def resolve(config: VlmConfig) -> tuple[str, str]:
    """-> (what transformers loads, the hash or revision that pins it). Raises ModelError."""
    model = config.model or ""
    if model.startswith(BUILTIN):
        directory = builtin_directory(model)
        return str(directory), directory_hash(directory)
    if Path(model).is_dir():
        return model, directory_hash(Path(model))
    return model, config.revision or "unpinned"


def vlm_fingerprint(config: VlmConfig, files_hash: str | None = None) -> str:
    """The fingerprint that a `TransformersVlm` of this config has."""
    if files_hash is None:
        files_hash = resolve(config)[1]
    local = (config.model or "").startswith(BUILTIN) or Path(config.model or "").is_dir()
    return fingerprint(
        "vlm",
        model="local" if local else config.model,
        files=files_hash,
        prompt=config.prompt,
        pooling=config.pooling,
        frames=config.frames,
        precision=config.precision,
    )
