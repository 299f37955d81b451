"""A model that goes on with other IDs: it is trained for a number of steps, from scratch or from another model's
weights, and tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import T5ForConditionalGeneration

from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.generation import generate
from fuseid.pipelines.evaluation.histories import TestHistories
from fuseid.pipelines.evaluation.model import Tokens, new_model
from fuseid.pipelines.evaluation.ranking import IdIndex, places
from fuseid.pipelines.evaluation.settings import Setting
from fuseid.pipelines.evaluation.training import train
from fuseid.pipelines.evaluation.trial import Data
from fuseid.tokenizers.ranks import recall
from fuseid.tokenizers.trie import Trie
from fuseid.tokenizers.vocabulary import same_tokens

K = 10
# The one tensor with a row for each token; the others do not depend on the vocabulary.
_ROWS = "shared.weight"
# Examples come in another order than those of the model before.
_OTHER_ORDER = 1 << 20
_TESTED = 256


@dataclass(frozen=True)
class Start:
    """The weights of a model, by name, and the IDs that it was trained on."""

    ids: Ids
    weights: dict[str, np.ndarray]


@dataclass(frozen=True)
class Training:
    """steps: of a whole schedule of the learning rate, 0 for none. start: None for random weights. keep: whether the
    result has the weights."""

    ids: Ids
    seed: int
    steps: int
    start: Start | None = None
    keep: bool = False


@dataclass(frozen=True)
class Tested:
    """Of each test example, float64 [E]: recall@10 among all items, and the loss of its target in nats, summed over its
    tokens. weights: of the model, by name, if they are kept."""

    recall_E: np.ndarray
    loss_E: np.ndarray
    weights: dict[str, np.ndarray]


def run_training(data: Data, training: Training, advance: Callable[[int], None]) -> Tested:
    """advance: called with the number of training steps done. The same seed gives the same result on one kind of CPU,
    provided that torch has one thread. There is no early stop: the weights are those of the last step."""
    sequences, setting, seed = data.sequences, data.setting, training.seed
    tokens = Tokens(training.ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = new_model(setting, tokens)
        if training.start is not None:
            _carry(model, tokens, training.start)
            seed += _OTHER_ORDER
        if training.steps:
            nothing = sequences.valid.rows(np.empty(0, np.int64))
            short = replace(setting, steps=training.steps, warmup=min(setting.warmup, max(1, training.steps // 10)))
            train(model, tokens, sequences.train, nothing, short, seed, lambda: advance(1))
    found = _recall(model, tokens, training.ids, sequences.test, setting, lambda: advance(0))
    weights = {}
    if training.keep:
        weights = {name: weight.detach().numpy().copy() for name, weight in model.named_parameters()}
    return Tested(found, _losses(model, tokens, sequences.test), weights)


@torch.no_grad()
def _carry(model: T5ForConditionalGeneration, tokens: Tokens, start: Start) -> None:
    """Gives the model the weights of `start`. The row of a token is that of the same level and code; a token that the
    other vocabulary lacks begins at the mean of its rows."""
    old, new = Tokens(start.ids).vocabulary, tokens.vocabulary
    same = same_tokens(old, new)
    known = torch.from_numpy(np.flatnonzero(same >= 0))
    for name, weight in model.named_parameters():
        before = torch.from_numpy(start.weights[name])
        if name != _ROWS:
            weight.copy_(before)
            continue
        weight[:] = before[: len(old)].mean(0)
        weight[known] = before[torch.from_numpy(same)[known]]
        # Rows of no token, which training has made improbable.
        spare = before[len(old) :][: len(weight) - len(new)]
        weight[len(new) : len(new) + len(spare)] = spare


def _recall(
    model: T5ForConditionalGeneration,
    tokens: Tokens,
    ids: Ids,
    test: TestHistories,
    setting: Setting,
    batch_done: Callable[[], None],
) -> np.ndarray:
    buckets = IdIndex(ids.codes_NM)
    made = generate(model, tokens, test.history_EH, setting.beams, Trie.build(ids.codes_NM), batch_done)
    found = places(buckets.find(made.codes_EBM), buckets.of_N[test.target_E], buckets.sizes_G)
    return recall(*found, K)


@torch.inference_mode()
def _losses(model: T5ForConditionalGeneration, tokens: Tokens, test: TestHistories) -> np.ndarray:
    model.eval()
    parts = []
    for first in range(0, len(test), _TESTED):
        batch = test.rows(np.arange(first, min(first + _TESTED, len(test))))
        labels = tokens.labels(batch.target_E)
        scores = model(**tokens.inputs(batch.history_EH), labels=labels).logits
        parts.append(torch.nn.functional.cross_entropy(scores.transpose(1, 2), labels, reduction="none").sum(1))
    return torch.cat(parts).numpy().astype(np.float64)
