"""Intervals: means by brute force, pairs, and how often an interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.evaluation.intervals import estimates


@given(st.integers(1, 3), st.lists(st.integers(0, 4), min_size=2, max_size=12), st.integers(0, 99))
def test_value_and_spread_are_those_of_the_seeds(seeds, users, number):
    values = np.random.default_rng(number).random((2, seeds, len(users)))
    for found, own in zip(estimates(values, np.array(users)), values, strict=True):
        assert found.value == pytest.approx(own.mean())
        assert found.seeds == (None if seeds == 1 else pytest.approx(own.mean(1).std(ddof=1)))
        if len(set(users)) == 1:
            assert (found.low, found.high) == (None, None)
        else:
            assert found.low is not None
            assert found.high is not None
            assert own.mean(0).min() - 1e-9 <= found.low <= found.high <= own.mean(0).max() + 1e-9


def test_a_paired_difference_has_a_narrower_interval_than_its_two_sides():
    generator = np.random.default_rng(0)
    control = generator.random((1, 3, 200))
    own = control + 0.02 + 0.01 * generator.standard_normal(control.shape)
    users = np.arange(200)
    [single], [paired] = estimates(own, users), estimates(own - control, users)
    assert paired.low is not None
    assert paired.low > 0.015
    assert single.high - single.low > 10 * (paired.high - paired.low)


def test_examples_of_one_user_are_drawn_together():
    """Fifty copies of the values of each of eight users give no more information than the eight."""
    values = np.random.default_rng(1).random((1, 1, 8))
    users = np.arange(8)
    [alone] = estimates(values, users)
    [copied] = estimates(np.repeat(values, 50, axis=2), np.repeat(users, 50))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))


def test_95_of_100_intervals_hold_the_truth():
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        [found] = estimates(generator.random((1, 1, 60)) < 0.3, np.arange(60))
        held += found.low <= 0.3 <= found.high
    assert 176 <= held <= 199
