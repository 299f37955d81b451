"""Quantiles of values that are read in parts are exact."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.pipelines.sequences import quantiles

TIMES = st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values=st.one_of(TIMES, st.lists(st.integers(0, 5), min_size=1)), share=st.fractions(0, 1, max_denominator=50))
def test_quantiles_are_exact(values, share):
    parts = [np.array(values[i::3], np.int64) for i in range(3)]
    found = quantiles.quantile(lambda: parts, share, min(values), max(values), len(values))
    assert found == sorted(values)[min(int(share * len(values)), len(values) - 1)]
