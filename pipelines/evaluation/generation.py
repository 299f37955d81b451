"""Generates IDs by beam search, freely or constrained by a trie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList, T5ForConditionalGeneration

from fuseid.pipelines.evaluation.model import Tokens
from fuseid.tokenizers.constrained import ConstrainedLogits
from fuseid.tokenizers.trie import Trie

_ROWS = 64
# A beam for which the search found nothing has a score of -1e9 or lower.
_NOTHING = -1e8


@dataclass(frozen=True)
class Generated:
    """there_EB: bool, whether the search found so many IDs. codes_EBM: int64 [E, B, M], best first; -1 for an ID that
    was not found, and for a token that is not a code of its level."""

    codes_EBM: np.ndarray
    there_EB: np.ndarray


@torch.inference_mode()
def generate(
    model: T5ForConditionalGeneration,
    tokens: Tokens,
    history_EH: np.ndarray,
    beams: int,
    trie: Trie | None,
    batch_done: Callable[[], None],
) -> Generated:
    """The `beams` best IDs after each history, among all tokens or, with a trie, among its IDs."""
    model.eval()
    # The result's type depends on how it decodes.
    untyped: Any = model
    codes, there = [np.empty((0, beams, tokens.levels), np.int64)], [np.empty((0, beams), bool)]
    held = LogitsProcessorList()
    if trie is not None and trie.item_count:
        held.append(ConstrainedLogits(trie, tokens.vocabulary))
    for start in range(0, len(history_EH), _ROWS):
        inputs = tokens.inputs(history_EH[start : start + _ROWS])
        made = untyped.generate(
            **inputs, num_beams=beams, num_return_sequences=beams, do_sample=False, max_new_tokens=tokens.levels,
            logits_processor=held, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
        there_EB = (made.sequences_scores > _NOTHING).numpy().reshape(-1, beams)
        codes_EBM = tokens.vocabulary.codes(made.sequences[:, 1:].numpy()).reshape(*there_EB.shape, tokens.levels)
        codes.append(np.where(there_EB[..., None], codes_EBM, -1))
        there.append(there_EB)
        batch_done()
    return Generated(np.concatenate(codes), np.concatenate(there))
