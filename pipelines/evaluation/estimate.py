"""How long an evaluation will take, from a few steps of training and of generation that are measured first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from fuseid.pipelines.evaluation.generation import generate
from fuseid.pipelines.evaluation.model import Tokens, new_model
from fuseid.pipelines.evaluation.training import mean_loss, train
from fuseid.pipelines.evaluation.trial import Data, Trial
from fuseid.tokenizers.trie import Trie

# Measuring the steps of training ends after so many, or after so many seconds and at least three.
_STEPS, _SECONDS, _LEAST = 40, 2.0, 3
# The first steps are slower.
_WARM_UP = 2
_EXAMPLES = 32


class _EnoughError(Exception):
    """Ends the measured training."""


def trial_seconds(data: Data, trial: Trial) -> float:
    """Seconds that a trial takes at most, on one thread: training may end before its last step. Measured on a model
    that is dropped; trials that follow give the same results as without it."""
    sequences, setting = data.sequences, data.setting
    tokens, test = Tokens(trial.ids), sequences.test
    ends = [time.perf_counter()]

    def step_done() -> None:
        ends.append(time.perf_counter())
        if len(ends) > _LEAST + _WARM_UP and ends[-1] - ends[0] > _SECONDS:
            raise _EnoughError

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        model = new_model(setting, tokens)
        short = replace(setting, steps=min(setting.steps, _STEPS))
        nothing = sequences.valid.rows(np.empty(0, np.int64))
        with suppress(_EnoughError):
            train(model, tokens, sequences.train, nothing, short, trial.seed, step_done)
        per_step = float(np.median(np.diff(ends[min(_WARM_UP, len(ends) - 2) :])))
        some = sequences.valid.rows(np.arange(min(len(sequences.valid), setting.batch)))
        per_valid = _per_row(lambda: mean_loss(model, tokens, some, setting.batch), len(some))
        tried = test.history_EH[:_EXAMPLES]
        per_free = _per_row(lambda: generate(model, tokens, tried, setting.beams, None, lambda: None), len(tried))
        trie = Trie.build(trial.ids.codes_NM)
        per_held = _per_row(lambda: generate(model, tokens, tried, setting.beams, trie, lambda: None), len(tried))
    checks = math.ceil(setting.steps / setting.check_every)
    cold = int((~sequences.seen_N)[test.target_E].sum())
    return (
        setting.steps * per_step
        + checks * len(sequences.valid) * per_valid
        + (len(test) + cold) * per_held
        + min(len(test), setting.free_examples) * per_free
    )


def _per_row(work: Callable[[], object], rows: int) -> float:
    if not rows:
        return 0.0
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / rows
