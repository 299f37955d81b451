"""The model, a small T5 over semantic IDs (TIGER, Rajput et al. 2023), and the tokens of items.

Unlike TIGER, it has no token for the user: in a split by time, the users of the test are mostly new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.settings import Setting
from fuseid.tokenizers.vocabulary import Vocabulary

PAD = 0


class Tokens:
    """The vocabulary of items: M = L + 1 tokens each, the collision digit last."""

    def __init__(self, ids: Ids) -> None:
        self.vocabulary = Vocabulary(ids.codebook_sizes, ids.largest_suffix + 1)
        self.levels = self.vocabulary.levels
        of_items = torch.from_numpy(self.vocabulary.ids(ids.codes_NM))
        # The last row is for the number -1, which means no item.
        self._of_items = torch.cat([of_items, torch.full((1, self.levels), PAD)])

    def inputs(self, history_EH: np.ndarray) -> dict[str, torch.Tensor]:
        """int [E, H], -1 for no item -> `input_ids` and `attention_mask`, int64 [E, H * M]."""
        ids = self._of_items[torch.from_numpy(history_EH).long()].flatten(1)
        return {"input_ids": ids, "attention_mask": (ids != PAD).long()}

    def labels(self, target_E: np.ndarray) -> torch.Tensor:
        """int [E] -> int64 [E, M]."""
        return self._of_items[torch.from_numpy(target_E).long()]


def new_model(setting: Setting, tokens: Tokens) -> T5ForConditionalGeneration:
    """A model with random weights from torch's global generator. Its output ends by length, not by a token."""
    special: dict[str, Any] = {"pad_token_id": PAD, "decoder_start_token_id": PAD, "eos_token_id": None}
    config = T5Config(
        vocab_size=tokens.vocabulary.padded_size, d_model=setting.d_model, d_kv=setting.d_kv, d_ff=setting.d_ff,
        num_heads=setting.heads, num_layers=setting.layers, dropout_rate=setting.dropout, **special,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)
