"""Measures of ranked items are the mean over every order of those that tie."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.tokenizers.ranks import ndcg, recall


@given(st.integers(0, 12), st.integers(0, 6), st.integers(1, 9))
def test_measures_are_the_mean_over_the_ranks_that_ties_leave_open(before, same, k):
    ranks = range(before + 1, before + same + 1)
    hits, gains = [rank <= k for rank in ranks], [1 / log2(1 + rank) if rank <= k else 0.0 for rank in ranks]
    one = np.array([before]), np.array([same])
    assert recall(*one, k) == pytest.approx([np.mean(hits or [0])])
    assert ndcg(*one, k) == pytest.approx([np.mean(gains or [0])])


def test_measures_equal_those_worked_out_by_hand():
    before, same = np.array([0, 4, 9, 10, 3, 0]), np.array([1, 1, 1, 1, 4, 0])
    assert recall(before, same, 5).tolist() == [1, 1, 0, 0, 0.5, 0]
    assert recall(before, same, 10).tolist() == [1, 1, 1, 0, 1, 0]
    assert ndcg(before, same, 5) == pytest.approx([1, 1 / log2(6), 0, 0, (1 / log2(5) + 1 / log2(6)) / 4, 0])
