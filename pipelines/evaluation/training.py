"""Trains the model to predict the next item from the history, with validation from time to time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from transformers import T5ForConditionalGeneration

from fuseid.pipelines.evaluation.histories import TestHistories
from fuseid.pipelines.evaluation.model import Tokens
from fuseid.pipelines.evaluation.settings import Setting

_BETAS, _DECAY, _NORM = (0.9, 0.99), 0.01, 1.0
_LEAST_SCALE = 0.05


class Examples(Protocol):
    """What a model is trained on, row by row."""

    def __len__(self) -> int: ...

    def rows(self, rows: np.ndarray, /) -> Self: ...


Some = TypeVar("Some", bound=Examples)


@dataclass(frozen=True)
class Trained:
    """steps: after how many steps the model had the weights that are kept. loss: what was checked, with these weights;
    None if nothing was."""

    steps: int
    loss: float | None


def train(
    model: T5ForConditionalGeneration,
    tokens: Tokens,
    examples: TestHistories,
    valid: TestHistories,
    setting: Setting,
    seed: int,
    step_done: Callable[[], None],
) -> Trained:
    """Fits the model to `examples`; leaves it with the weights of the lowest validation loss, which is that of
    `Trained`. The loss, not recall, decides when to stop: on a few hundred examples it varies less."""

    def loss(batch: TestHistories) -> torch.Tensor:
        found: torch.Tensor = model(**tokens.inputs(batch.history_EH), labels=tokens.labels(batch.target_E)).loss
        return found

    check = partial(mean_loss, model, tokens, valid, setting.batch) if len(valid) else None
    return descend(model, examples, loss, check, setting, seed, step_done)


def descend(
    model: torch.nn.Module,
    examples: Some,
    loss: Callable[[Some], torch.Tensor],
    check: Callable[[], float] | None,
    setting: Setting,
    seed: int,
    step_done: Callable[[], None],
) -> Trained:
    """Lowers the mean `loss` of batches of `examples` by AdamW, and keeps the weights for which `check` was lowest.
    Dropout uses the global generator of torch, which the caller seeds."""
    optimizer = torch.optim.AdamW(_rates(model, setting.learning_rate), betas=_BETAS, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, setting))
    best, kept, waited = math.inf, 0, 0
    weights = None
    for step, rows in enumerate(_batches(len(examples), setting, seed), 1):
        model.train()
        found = loss(examples.rows(rows))
        optimizer.zero_grad()
        found.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), _NORM)
        optimizer.step()
        schedule.step()
        step_done()
        if check is not None and (step % setting.check_every == 0 or step == setting.steps):
            if (checked := check()) < best:
                best, kept, waited = checked, step, 0
                weights = copy.deepcopy(model.state_dict())
            elif (waited := waited + 1) == setting.patience:
                break
    if weights is None:
        return Trained(setting.steps, None)
    model.load_state_dict(weights)
    return Trained(kept, best)


def rate(step: int, setting: Setting) -> float:
    """The factor of the peak learning rate: it rises linearly, then falls by half a cosine to 0 at the last step."""
    if step < setting.warmup:
        return (step + 1) / setting.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - setting.warmup) / max(1, setting.steps - setting.warmup)))


def _rates(model: torch.nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """The learning rate of each tensor is proportional to its scale, as in Adafactor (Shazeer and Stern 2018), for
    which T5 is made: its embeddings begin with numbers fifty times as large as those of its queries."""
    return [
        {"params": [one], "lr": learning_rate * max(_LEAST_SCALE, float(one.detach().square().mean().sqrt()))}
        for one in model.parameters()
    ]


@torch.inference_mode()
def mean_loss(model: T5ForConditionalGeneration, tokens: Tokens, examples: TestHistories, batch: int) -> float:
    """The mean loss of a target in nats, summed over its tokens: comparable for IDs of any length and codebooks."""
    model.eval()
    total = 0.0
    for start in range(0, len(examples), batch):
        part = examples.rows(np.arange(start, min(start + batch, len(examples))))
        found = model(**tokens.inputs(part.history_EH), labels=tokens.labels(part.target_E)).loss
        total += float(found) * len(part)
    return tokens.levels * total / len(examples)


def _batches(count: int, setting: Setting, seed: int) -> Iterator[np.ndarray]:
    """The rows of `steps` batches, epoch after epoch, each epoch in a new random order."""
    generator = np.random.default_rng([seed, 0])
    left = np.empty(0, np.int64)
    for _ in range(setting.steps):
        while len(left) < min(setting.batch, count):
            left = np.concatenate([left, generator.permutation(count)])
        rows, left = left[: setting.batch], left[setting.batch :]
        yield rows
