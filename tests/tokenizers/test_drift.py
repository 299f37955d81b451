"""Drift: none for similar items, reported for a new theme or a worse fit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fuseid.tokenizers.drift import CodeUse, divergence, drift, enough
from fuseid.tokenizers.rq_kmeans import RQKMeans

CENTRES = np.random.default_rng(0).normal(size=(24, 16)).astype(np.float32) * 3


def items(count: int, seed: int, centres=slice(0, 16), spread: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    chosen = CENTRES[centres]
    noise = generator.normal(size=(count, 16)) * spread
    return (chosen[generator.integers(0, len(chosen), count)] + noise).astype(np.float32)


TOKENIZER = RQKMeans.fit(items(4000, 1), (16, 16), iterations=6)
HELD_OUT = CodeUse.under(TOKENIZER, items(1500, 2))


@pytest.mark.parametrize("seed", range(10, 30))
def test_more_of_the_same_is_no_drift(seed):
    found = drift(HELD_OUT, CodeUse.under(TOKENIZER, items(1200, seed)))
    assert found.reasons(1.05, 0.02) == []
    assert 0.93 < found.error_ratio < 1.07


def test_a_new_theme_shows_in_the_errors_and_in_the_codes():
    new = np.concatenate([items(800, 5), items(700, 6, slice(16, 17))])
    reasons = drift(HELD_OUT, CodeUse.under(TOKENIZER, new)).reasons(1.2, 0.05)
    assert len(reasons) == 2
    assert "times as badly" in reasons[0]
    assert "first codes differ" in reasons[1]


def test_a_theme_that_grows_shows_in_the_codes_alone():
    found = drift(HELD_OUT, CodeUse.under(TOKENIZER, items(1500, 5, slice(0, 6))))
    assert found.error_ratio == pytest.approx(1, abs=0.1)
    assert found.divergence[0] > 0.3
    assert [reason.split()[0] for reason in found.reasons(1.2, 0.1)] == ["their"]


def test_noisier_items_show_in_the_errors_with_an_interval_that_holds_the_truth():
    found = drift(HELD_OUT, CodeUse.under(TOKENIZER, items(1500, 5, spread=1.5)))
    truth = (
        CodeUse.under(TOKENIZER, items(60_000, 7, spread=1.5)).error / CodeUse.under(TOKENIZER, items(60_000, 8)).error
    )
    assert found.error_low < truth < found.error_high
    assert found.reasons(1.2, 1.0)


def test_few_items_do_not_differ_by_more_than_chance_allows():
    """Forty items leave codes empty: the bare divergence is large and means nothing."""
    found = drift(HELD_OUT, CodeUse.under(TOKENIZER, items(40, 9)))
    assert found.divergence[0] > 0.05
    assert found.reasons(1.5, 0.02) == []


def test_totals_add_up_in_any_parts_and_survive_json():
    vectors = items(1000, 3)
    whole, parts = CodeUse.under(TOKENIZER, vectors), CodeUse(TOKENIZER.codebook_sizes)
    for part in (vectors[:137], vectors[137:900], vectors[900:]):
        parts.merge(CodeUse.of(json.loads(json.dumps(CodeUse.under(TOKENIZER, part).document()))))
    assert parts.error == pytest.approx(whole.error)
    assert parts.relative_variance == pytest.approx(whole.relative_variance)
    assert [h.tolist() for h in parts.histogram] == [h.tolist() for h in whole.histogram]
    errors = np.square(vectors - TOKENIZER.decode(TOKENIZER.encode(vectors))).sum(1)
    assert whole.error == pytest.approx(errors.mean(), rel=1e-5)
    assert whole.relative_variance == pytest.approx(errors.var() / errors.mean() ** 2 / 1000, rel=1e-4)


@pytest.mark.parametrize(("count", "said"), [(999, False), (1000, True)])
def test_drift_is_judged_only_with_enough_items(count, said):
    assert enough(CodeUse.under(TOKENIZER, items(count, 3))) is said


def test_divergence_is_zero_for_equal_and_one_bit_for_disjoint_distributions():
    assert divergence(np.array([3, 5, 0]), np.array([6, 10, 0])) == pytest.approx(0, abs=1e-12)
    assert divergence(np.array([3, 5, 0, 0]), np.array([0, 0, 1, 7])) == pytest.approx(1)
    # By hand: p = (1/2, 1/2), q = (1, 0); H((3/4, 1/4)) - 1/2.
    assert divergence(np.array([4, 4]), np.array([9, 0])) == pytest.approx(0.311278, abs=1e-6)
