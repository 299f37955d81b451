"""The estimate of how long an evaluation takes is of the right size, and leaves the trials as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.estimate import trial_seconds
from fuseid.pipelines.evaluation.trial import Data, Trial, run_trial
from fuseid.pipelines.evaluation.workers import one_thread


def test_the_estimate_is_near_what_a_trial_takes_and_does_not_change_it(data: Data, ids: Ids) -> None:
    # Without early stopping, about which the estimate knows nothing.
    data = replace(data, setting=replace(data.setting, patience=1000))
    with one_thread():
        before = torch.random.get_rng_state()
        estimate = trial_seconds(data, Trial(ids, 0))
        assert torch.equal(torch.random.get_rng_state(), before)
        outcome = run_trial(data, Trial(ids, 0), lambda steps: None)
    # Other processes may take the processor from either of them.
    assert outcome.seconds / 4 < estimate < outcome.seconds * 4


def test_more_steps_and_more_users_take_longer(data: Data, ids: Ids) -> None:
    longer = replace(data, setting=replace(data.setting, steps=100 * data.setting.steps))
    with one_thread():
        short, long = trial_seconds(data, Trial(ids, 0)), trial_seconds(longer, Trial(ids, 0))
    assert long > 10 * short


def test_without_validation_examples_there_is_an_estimate_too(data: Data, ids: Ids) -> None:
    bare = replace(data, sequences=replace(data.sequences, valid=data.sequences.valid.rows(np.empty(0, np.int64))))
    with one_thread():
        assert trial_seconds(bare, Trial(ids, 0)) > 0
