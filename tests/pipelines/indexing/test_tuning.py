"""Tuning: the least effort that reaches the target, found in few measurements."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.indexing.recall import Recall
from fuseid.pipelines.indexing.tuning import _steps, tuned
from fuseid.pipelines.store.index_figures import Effort


@given(st.integers(1, 5000), st.integers(0, 5000), st.sampled_from([(0,), (1, 3, 10)]))
def test_the_fewest_probes_that_are_enough_are_found(partitions, needed, compared):
    tried: list[Effort] = []

    def measure(effort: Effort) -> Recall:
        tried.append(effort)
        return Recall(1.0 if effort.probes >= needed else 0.5, 0.0)

    found = tuned(measure, partitions, compared, 0.95)
    steps = _steps(partitions)
    if needed <= partitions:
        assert found.effort == Effort(next(step for step in steps if step >= needed), compared[0])
        assert found.recall == 1.0
        assert len(tried) <= len(steps) // 3 + 4
    else:
        assert found.effort == Effort(partitions, compared[-1])
        assert found.recall == 0.5
    assert len(tried) == len(set(tried))


def test_candidates_are_compared_where_probes_alone_are_not_enough():
    def measure(effort: Effort) -> Recall:
        return Recall(min(0.9 if effort.compared < 3 else 0.99, effort.probes / 20), 0.01)

    assert tuned(measure, 100, (1, 3, 10), 0.95).effort.compared == 3


def test_an_estimate_that_is_uncertain_needs_more_than_the_target():
    exact = tuned(lambda effort: Recall(effort.probes / 100, 0.0), 100, (0,), 0.5)
    unsure = tuned(lambda effort: Recall(effort.probes / 100, 0.1), 100, (0,), 0.5)
    assert exact.effort.probes < unsure.effort.probes


def test_what_cannot_be_judged_takes_the_least_effort():
    found = tuned(lambda effort: None, 100, (1, 3), 0.95)
    assert found.recall is None
    assert found.effort.probes == 1


@given(st.integers(1, 100_000))
def test_steps_rise_by_a_third_at_most_up_to_all(partitions):
    steps = _steps(partitions)
    assert steps[0] == 1
    assert steps[-1] == partitions
    assert all(a < b <= max(a + 1, 1.34 * a) for a, b in pairwise(steps))
