"""SASRec learns a simple pattern, looks back only, and ranks all items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fuseid.pipelines.evaluation import sasrec
from fuseid.pipelines.evaluation.sasrec import ItemTrial, SASRec, run_sasrec, sasrec_setting
from fuseid.pipelines.evaluation.trial import Data
from fuseid.pipelines.evaluation.windows import Windows
from fuseid.tokenizers.ranks import recall


@pytest.fixture(scope="module")
def model(data: Data) -> SASRec:
    torch.manual_seed(0)
    return SASRec(len(data.sequences.seen_N), sasrec_setting(data.setting)).eval()


def test_the_pattern_is_learned_far_beyond_chance(data: Data):
    steps: list[int] = []
    found = run_sasrec(data, ItemTrial(0), steps.append)
    warm = data.sequences.seen_N[data.sequences.test.target_E]
    assert recall(found.ranks.before_E[warm], found.ranks.same_E[warm], 5).mean() > 0.8, "by chance it would be 5 / 40"
    assert (found.invalid_free, found.invalid_held) == (None, None)
    assert found.loss < np.log(len(warm))
    assert sum(steps) == sasrec_setting(data.setting).steps, "skipped steps are reported as done"
    assert len(found.cold_ranks.same_E) == (~warm).sum()
    assert (found.cold_ranks.before_E < 4).all(), "there are four cold items"


def test_a_seed_determines_the_outcome(data: Data):
    short = replace(data, setting=replace(data.setting, steps=8))
    first, second, other = (run_sasrec(short, ItemTrial(seed), lambda steps: None) for seed in (1, 1, 2))
    assert first.loss == second.loss != other.loss
    assert (first.ranks.before_E == second.ranks.before_E).all()


def test_a_state_depends_on_the_items_before_it_alone(model: SASRec):
    items = torch.tensor([[7, 3, 9, 2]])
    changed = torch.tensor([[7, 3, 1, -1]])
    torch.testing.assert_close(model(items)[:, :2], model(changed)[:, :2])
    assert not torch.allclose(model(items)[:, 2], model(changed)[:, 2])


def test_scores_are_those_of_the_newest_item(model: SASRec):
    short, padded = model.scores(np.array([[7, 3]])), model.scores(np.array([[7, 3, -1]]))
    torch.testing.assert_close(short, padded)
    assert not torch.allclose(short, model.scores(np.array([[3, 7]])))


def test_ranks_are_those_of_the_scores(data: Data, model: SASRec):
    test, seen_N = data.sequences.test, data.sequences.seen_N
    warm = test.rows(np.flatnonzero(seen_N[test.target_E]))
    found = sasrec._ranks(model, warm, seen_N)
    with torch.no_grad():
        scores_EN = model.scores(warm.history_EH).numpy()[:, seen_N]
    for row, target in enumerate(warm.target_E):
        assert found.before_E[row] == (scores_EN[row] > scores_EN[row, target]).sum()
    assert (found.same_E == 1).all()


def test_of_many_items_random_ones_and_the_targets_are_in_the_loss(data: Data, model: SASRec, monkeypatch):
    """With so many draws that all items are among them, it is the loss over all items."""
    windows = Windows.of(data.sequences.train).rows(np.arange(3))
    with torch.no_grad():
        whole = model.loss(windows)
        monkeypatch.setattr(sasrec, "_CANDIDATES", 9)
        assert model.loss(windows) < whole, "fewer items share the probability"
        monkeypatch.setattr(torch, "randint", lambda items, size: torch.arange(items))
        torch.testing.assert_close(model.loss(windows), whole)
