"""A tiny T5 learns a simple pattern, the trie keeps it within the catalogue, and the seed determines the result."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fuseid.core.errors import FuseidError
from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.model import PAD, Tokens
from fuseid.pipelines.evaluation.settings import SMALL, TINY, for_examples, setting_named
from fuseid.pipelines.evaluation.training import rate
from fuseid.pipelines.evaluation.trial import Data, Outcome, Ranks, Trial, run_trial
from fuseid.pipelines.evaluation.workers import run_trials
from fuseid.pipelines.jobs.progress import Lines
from fuseid.tokenizers.ranks import recall


@pytest.fixture(scope="module")
def outcome(data: Data, ids: Ids) -> Outcome:
    return run_trial(data, Trial(ids, 0), lambda steps: None)


def same(one: Outcome, other: Outcome) -> bool:
    for field in fields(Outcome):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Ranks):
            if not ((a.before_E == b.before_E).all() and (a.same_E == b.same_E).all()):
                return False
        elif field.name != "seconds" and a != b:
            return False
    return True


def test_the_pattern_is_learned_far_beyond_chance(data: Data, outcome: Outcome):
    warm = data.sequences.seen_N[data.sequences.test.target_E]
    found = recall(outcome.ranks.before_E[warm], outcome.ranks.same_E[warm], 5)
    assert found.mean() > 0.8, "by chance it would be 5 / 40"


def test_with_the_trie_no_id_is_invalid(outcome: Outcome):
    assert outcome.invalid_held == 0
    assert 0 <= outcome.invalid_free <= 1


def test_cold_items_are_ranked_among_cold_items_alone(data: Data, outcome: Outcome):
    """Four items and ten beams: each is found, and they share four places."""
    assert outcome.cold_ranks.same_E.tolist() == [1, 1, 1, 1]
    assert (outcome.cold_ranks.before_E < 4).all()
    assert len(outcome.ranks.same_E) == len(data.sequences.test)


def test_a_seed_determines_the_trial_and_another_seed_changes_it(data: Data, ids: Ids):
    short = replace(data, setting=replace(data.setting, steps=20, check_every=10))
    torch.manual_seed(1)
    first = run_trial(short, Trial(ids, 3), lambda steps: None)
    torch.manual_seed(2)
    drawn = torch.get_rng_state()
    assert same(run_trial(short, Trial(ids, 3), lambda steps: None), first)
    assert torch.equal(torch.get_rng_state(), drawn), "the caller's generator was moved"
    assert not same(run_trial(short, Trial(ids, 4), lambda steps: None), first)


@pytest.mark.slow
def test_training_keeps_the_best_weights_and_stops_early(data: Data, ids: Ids):
    """Validation goes around the ring backwards, so training makes its loss worse."""
    steps: list[int] = []
    backwards = replace(data.sequences.valid, target_E=data.sequences.valid.history_EH[:, 0].astype(np.int64))
    astray = Data(
        replace(data.sequences, valid=backwards), replace(data.setting, check_every=10, patience=2, steps=100)
    )
    found = run_trial(astray, Trial(ids, 0), steps.append)
    assert found.steps <= 70
    assert sum(steps) == 100, "skipped steps are reported as done"
    assert run_trial(data, Trial(ids, 0), steps.append).loss < found.loss


class _Counted(Lines):
    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def begin(self, stage: str, total: int | None) -> None:
        self.total += total or 0

    def advance(self, stage: str, done: int) -> None:
        self.done += done


@pytest.mark.slow
def test_trials_in_parallel_processes_give_the_same_results(data: Data, ids: Ids):
    short = replace(data, setting=replace(data.setting, steps=10, check_every=5))
    trials = [Trial(ids, seed) for seed in range(3)]
    progress = _Counted()
    alone, together = run_trials(short, trials, 1, Lines()), run_trials(short, trials, 2, progress)
    assert [same(*pair) for pair in zip(alone, together, strict=True)] == [True] * 3
    assert progress.done == progress.total == 30


def test_items_become_tokens_and_missing_items_padding(ids: Ids):
    tokens = Tokens(ids)
    labels = tokens.labels(np.arange(len(ids.codes_NM)))
    assert (tokens.vocabulary.codes(labels.numpy()) == ids.codes_NM).all()
    inputs = tokens.inputs(np.array([[7, -1], [3, 2]]))
    assert inputs["input_ids"].tolist() == [
        [*labels[7].tolist(), PAD, PAD, PAD],
        [*labels[3].tolist(), *labels[2].tolist()],
    ]
    assert inputs["attention_mask"].sum(1).tolist() == [3, 6]


@pytest.mark.parametrize("setting", [TINY, SMALL])
def test_the_learning_rate_rises_to_its_peak_and_decays_to_zero(setting):
    rates = [rate(step, setting) for step in range(setting.steps)]
    peak = int(np.argmax(rates))
    assert max(rates) == 1
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[setting.warmup :]) < 0).all()
    assert rates[-1] < 0.01


def test_dropout_is_for_examples_that_are_seen_often():
    seen = TINY.steps * TINY.batch
    assert for_examples(TINY, seen // 5).dropout == TINY.dropout > 0
    assert for_examples(TINY, seen // 4) == for_examples(TINY, seen) == replace(TINY, dropout=0.0)


def test_settings_are_found_by_name():
    assert setting_named("tiny") is TINY
    with pytest.raises(FuseidError, match="tiny, small"):
        setting_named("huge")
