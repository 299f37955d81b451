"""Churn: figures against counting by hand, chance against permutations, and codes that split and merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fuseid.core.errors import BadInput
from fuseid.tokenizers.alignment import permutations, renumbered
from fuseid.tokenizers.churn import churn_measures, spreads
from fuseid.tokenizers.measures import Measure

PAIRS = st.tuples(st.integers(1, 40), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(*(arrays(np.int32, shape, elements=st.integers(0, 3)) for _ in range(2)))
)


def by_name(measures: list[Measure]) -> dict[tuple[str, int | None], Measure]:
    return {(one.name, one.level): one for one in measures}


@given(PAIRS)
def test_figures_are_those_of_counting(pair):
    old, new = pair
    found = by_name(churn_measures(old, new))
    items, levels = old.shape
    for depth in range(1, levels + 1):
        before, after = ([tuple(row[:depth]) for row in codes.tolist()] for codes in pair)
        same = [one == other for one, other in zip(before, after, strict=True)]
        assert found["churn", depth].value == pytest.approx(1 - sum(same) / items)
        gone = [
            sum(stays for prefix, stays in zip(before, same, strict=True) if prefix == one) < before.count(one) / 2
            for one in sorted(set(before))
        ]
        assert found["churn_prefixes", depth].value == pytest.approx(np.mean(gone))
    assert found["churn_id", None].value == found["churn", levels].value
    for one in found.values():
        assert 0 <= one.low <= one.value <= one.high <= 1


@given(PAIRS)
def test_a_tokenizer_has_no_churn_with_itself(pair):
    suffixes = np.arange(len(pair[0]))
    assert {one.value for one in churn_measures(pair[0], pair[0], (suffixes, suffixes))} == {0.0}


@given(PAIRS, st.permutations(range(40)))
def test_the_order_of_the_items_changes_nothing(pair, order):
    rows = [at for at in order if at < len(pair[0])]
    before, after = churn_measures(*pair), churn_measures(pair[0][rows], pair[1][rows])
    assert before == after


@given(PAIRS, st.permutations(range(4)))
def test_renumbered_codes_have_the_churn_of_the_best_permutation(pair, numbers):
    """Nothing splits if the numbers are all that changed."""
    old = pair[0]
    new = old.copy()
    new[:, 0] = np.array(numbers)[old[:, 0]]
    aligned = renumbered(new, permutations(old, new, [4] * old.shape[1]))
    assert {one.value for one in churn_measures(old, aligned)} == {0.0}
    best = churn_measures(old, renumbered(pair[1], permutations(old, pair[1], [4] * old.shape[1])))
    moved = pair[1].copy()
    moved[:, 0] = np.array(numbers)[moved[:, 0]]
    again = churn_measures(old, renumbered(moved, permutations(old, moved, [4] * old.shape[1])))
    assert again[0].value == best[0].value


def test_chance_is_the_mean_and_the_spread_over_permutations():
    rng = np.random.default_rng(0)
    old, new = rng.integers(0, 4, (300, 2)) ** 2 // 4, rng.integers(0, 3, (300, 2))
    draws = [by_name(churn_measures(old, new[rng.permutation(300)])) for _ in range(2000)]
    for key in (("churn", 1), ("churn", 2), ("churn_id", None)):
        values = [draw[key].value for draw in draws]
        exact = draws[0][key]
        assert np.mean(values) == pytest.approx(exact.null, abs=4 * np.std(values) / np.sqrt(2000))
        assert np.std(values) == pytest.approx((exact.null_high - exact.null_low) / 2 / 1.96, rel=0.1)


def test_the_interval_holds_the_share_of_the_source_in_nineteen_of_twenty_samples():
    rng = np.random.default_rng(1)
    old = rng.integers(0, 5, (100_000, 1))
    new = np.where(rng.random((100_000, 1)) < 0.07, 5, old)
    whole = churn_measures(old, new)[0].value
    held = []
    for _ in range(400):
        rows = rng.integers(100_000, size=500)
        one = churn_measures(old[rows], new[rows])[0]
        held.append(one.low <= whole <= one.high)
    assert 0.92 <= np.mean(held) <= 0.99


def test_ids_of_the_same_codes_and_another_suffix_change():
    codes = np.array([[1, 2], [1, 2], [3, 0]])
    found = by_name(churn_measures(codes, codes, (np.array([-1, 0, -1]), np.array([0, -1, -1]))))
    assert (found["churn", 2].value, found["churn_id", None].value) == (0, 2 / 3)


def test_ids_of_another_number_of_levels_all_change():
    found = by_name(churn_measures(np.array([[1, 2], [3, 4]]), np.array([[1], [0]])))
    assert found["churn", 1].value == 0.5
    assert found["churn_id", None].value == 1
    assert ("churn", 2) not in found


def test_codes_of_different_items_are_refused():
    with pytest.raises(BadInput, match="codes of 2 items and of 1"):
        churn_measures(np.zeros((2, 1), int), np.zeros((1, 1), int))


# Codes that split and merge


@given(PAIRS)
def test_spreads_hold_every_item_once(pair):
    old, new = pair[0][:, 0], pair[1][:, 0]
    found = spreads(old, new)
    assert {one.code: one.items for one in found} == {code: int((old == code).sum()) for code in set(old.tolist())}
    for one in found:
        assert dict(one.parts) == {to: int(((old == one.code) & (new == to)).sum()) for to, _ in one.parts}
        assert sum(items for _, items in one.parts) == one.items
        assert [items for _, items in one.parts] == sorted((items for _, items in one.parts), reverse=True)
    weights = [one.items * one.entropy for one in found]
    assert weights == sorted(weights, reverse=True)


def test_a_code_that_splits_evenly_has_a_bit_and_one_that_is_renamed_has_none():
    old, new = np.array([0, 0, 0, 0, 7, 7]), np.array([1, 1, 2, 2, 5, 5])
    split, renamed = spreads(old, new)
    assert (split.code, split.items, split.entropy, split.parts) == (0, 4, 1.0, ((1, 2), (2, 2)))
    assert (renamed.code, renamed.entropy, renamed.parts) == (7, 0.0, ((5, 2),))
    assert [one.entropy for one in spreads(new, old)] == [0, 0, 0]
