"""A vision-language model through transformers: an item's frames and caption to one unit vector, and to text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch

from fuseid.core.config import VlmConfig
from fuseid.core.errors import BadModel
from fuseid.core.records import Description
from fuseid.encoders.blocks import unit_rows
from fuseid.encoders.devices import Passes, pick_device, power_of_two_below, prepared, preparing_threads, rows_that_fit
from fuseid.encoders.model_files import load_failure
from fuseid.encoders.model_identity import resolve_vlm, vlm_fingerprint
from fuseid.encoders.vlm_captions import caption_of, tags_of
from fuseid.encoders.vlm_checkpoint import load_checkpoint
from fuseid.encoders.vlm_inputs import InputMaker, Inputs, bucket, collate, pool, shape_class
from fuseid.encoders.vlm_reading import reading_of

R = TypeVar("R")

# For `batch_size: auto`. A long sequence alone keeps the device busy: more rows would gain little, and add padding if
# few items share a shape.
_ROWS_CPU, _TOKENS_CPU = 8, 256
_ROWS_CUDA, _TOKENS_CUDA, _BYTES_PER_TOKEN = 64, 2048, 256 << 10
# Prepared items that wait for the device; an item of many tiles takes 50 MB.
_AHEAD = 16


class TransformersVlm:
    """Any image-text-to-text checkpoint as a `VlmLike`: pools the last hidden states of frames and prompt.

    Items are batched by shape class: token sequences are padded to one of a few lengths, all other shapes are equal,
    and every block of a class has the same number of rows. So an item's result does not depend on its neighbours.
    Raises ModelError, in one line, for a checkpoint that cannot be loaded.
    """

    def __init__(self, config: VlmConfig) -> None:
        self._config = config
        self._reading = reading_of(config)
        self.device = pick_device(config.device)
        resolved = resolve_vlm(config)
        self._processor, self._model = load_checkpoint(*resolved[:2], config, self.device)
        self._inputs = InputMaker(self._processor, config.frames)
        self._tokens = rows_that_fit(self.device, _BYTES_PER_TOKEN, _TOKENS_CPU, _TOKENS_CUDA)
        self._threads = preparing_threads(self.device)
        self._passes = Passes(self.device)
        self.fingerprint = vlm_fingerprint(config, resolved)
        try:
            # Try once here: a template or processor that does not work must fail the load, not every item.
            self._inputs_of(([np.zeros((64, 64, 3), np.uint8)], "a"))
            self.dim = int(self.encode_items([((), "a")]).shape[1])
        except Exception as error:
            raise load_failure(f"VLM {config.model} cannot read a prompt", error, remote=False) from error
        if config.dim is not None and config.dim != self.dim:
            raise BadModel(f"vlm.dim is {config.dim}, but {config.model} gives vectors of {self.dim} numbers")

    def encode_items(self, items: Sequence[tuple[Sequence[np.ndarray], str | None]]) -> np.ndarray:
        """(frames uint8 [T, H, W, 3] or none, caption) each -> float32 [N, dim], unit norm.

        At most `vlm.frames` frames are used, evenly spread. The model reads the caption together with them if the
        prompt contains `{caption}`, else only for an item without frames.
        """
        vectors: list[np.ndarray] = self._in_classes(self._inputs_of, items, self._embed)
        return unit_rows(np.stack(vectors)[:, : self._config.dim])

    def describe(self, frames: Sequence[Sequence[np.ndarray]]) -> list[Description]:
        """uint8 [T, H, W, 3] each -> the model's replies to `vlm.caption` and `vlm.tags`, decoded greedily."""
        captions = self._answers(frames, self._config.caption)
        tags = self._answers(frames, self._config.tags)
        return [
            Description(caption_of(caption or ""), tags_of(tag_list or ""))
            for caption, tag_list in zip(captions, tags, strict=True)
        ]

    def _answers(self, frames: Sequence[Sequence[np.ndarray]], prompt: str | None) -> Sequence[str | None]:
        if prompt is None:
            return [None] * len(frames)
        return self._in_classes(lambda item: self._inputs(item, prompt), frames, self._generate)

    def _inputs_of(self, item: tuple[Sequence[np.ndarray], str | None]) -> Inputs:
        frames, caption = item
        reading = self._reading
        text = reading.text(len(frames) > 0, self._inputs.words(caption))
        return self._inputs(frames, text, reading.system, reading.suffix)

    def _in_classes(
        self, prepare: Callable[..., Inputs], items: Iterable, forward: Callable[[list[Inputs]], Iterable[R]]
    ) -> list[R]:
        """Runs `forward` on the prepared items in blocks of one shape class; results in the order of the items."""
        waiting: dict[tuple, list[tuple[int, Inputs]]] = defaultdict(list)
        out: dict[int, R] = {}

        def run(group: list[tuple[int, Inputs]], rows: int) -> None:
            results = self._passes.run(forward, [inputs for _, inputs in group], rows)
            out.update(zip((index for index, _ in group), results, strict=True))

        for index, inputs in enumerate(prepared(prepare, items, self._threads, _AHEAD)):
            group = waiting[shape_class(inputs)]
            group.append((index, inputs))
            rows = self._rows(inputs)
            if len(group) == rows:
                run(group, rows)
                group.clear()
        for group in waiting.values():
            if group:
                run(group, self._rows(group[0][1]))
        return [out[index] for index in range(len(out))]

    def _rows(self, inputs: Inputs) -> int:
        """Rows per block of this item's class: `vlm.batch_size`, or for `auto` as many as a limit on tokens allows."""
        if self._config.batch_size != "auto":
            return self._config.batch_size
        most = _ROWS_CPU if self.device.type == "cpu" else _ROWS_CUDA
        return min(most, power_of_two_below(self._tokens // bucket(inputs["input_ids"].shape[1])))

    def _batch(self, items: Sequence[Inputs], side: str) -> Inputs:
        batch = {key: value.to(self.device) for key, value in collate(items, self._inputs.pad_id, side).items()}
        return {key: v.to(self._model.dtype) if v.is_floating_point() else v for key, v in batch.items()}

    @torch.inference_mode()
    def _embed(self, items: list[Inputs]) -> np.ndarray:
        batch = self._batch(items, "right")
        body = self._model.base_model
        if body is self._model:
            states = self._model(**batch, output_hidden_states=True, use_cache=False).hidden_states[-1]
        else:
            # Without the output layer: scores over a vocabulary of 150,000 would cost as much as several layers.
            states = body(**batch, use_cache=False).last_hidden_state
        return pool(states, batch["attention_mask"], self._reading.pooling).cpu().numpy()

    @torch.inference_mode()
    def _generate(self, items: list[Inputs]) -> list[str]:
        batch = self._batch(items, "left")
        tokens = self._model.generate(**batch, max_new_tokens=self._config.max_new_tokens)
        answers = tokens[:, batch["input_ids"].shape[1] :]
        return self._processor.batch_decode(answers, skip_special_tokens=True)
