"""Counts are exact up to the limit; beyond it no count is too high, none more too low than is said."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.search.counting import Counts

batches = st.lists(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 9)), max_size=8)


@given(batches, st.integers(1, 8), st.integers(4, 40))
def test_counts_are_within_their_error_and_their_memory(parts, values, chars):
    counts, exact = Counts(values, chars), Counter()
    for part in parts:
        counts.add(part.items())
        exact.update(part)
        assert counts.distinct <= values
        held = dict(counts.top(counts.distinct))
        assert sum(map(len, held)) <= chars
        for value, count in exact.items():
            assert count - counts.error <= held.get(value, 0) <= count
    assert counts.total == exact.total()
    if not counts.error:
        assert held_all(counts) == exact


def held_all(counts: Counts) -> dict[str, int]:
    return dict(counts.top(counts.distinct))


@given(batches)
def test_without_a_limit_the_most_frequent_come_first(parts):
    counts, exact = Counts(), Counter()
    for part in parts:
        counts.add(part.items())
        exact.update(part)
    assert counts.error == 0
    assert counts.top(3) == sorted(exact.items(), key=lambda pair: (-pair[1], pair[0]))[:3]


def test_a_frequent_value_survives_many_rare_ones():
    counts = Counts(most_values=100)
    for start in range(0, 100_000, 1000):
        counts.add([*((str(number), 1) for number in range(start, start + 1000)), ("often", 50)])
    assert counts.top(1)[0][0] == "often"
    assert 0 < 5000 - counts.top(1)[0][1] <= counts.error < 1000
