"""Places of items in lists of IDs, against brute force over every order of ties."""

from __future__ import annotations

from itertools import permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.evaluation.ranking import IdIndex, places, popularity_places
from fuseid.tokenizers.ranks import ndcg, recall


@st.composite
def lists(draw):
    """A small catalogue [N, 2] with collisions, lists of IDs (some of no item, some twice), and a target of each."""
    items = draw(st.integers(1, 7))
    codes = st.tuples(st.integers(0, 2), st.integers(0, 1))
    codes_NM = np.array([draw(codes) for _ in range(items)])
    generated = draw(st.lists(st.lists(codes, min_size=4, max_size=4), min_size=1, max_size=3))
    targets = [draw(st.integers(0, items - 1)) for _ in generated]
    return codes_NM, np.array(generated), np.array(targets)


def every_order(codes_NM: np.ndarray, generated: np.ndarray) -> list[list[int]]:
    """All ranked lists of items that a list of IDs may mean: each ID in turn, its items in every order."""
    orders: list[list[int]] = [[]]
    for code in dict.fromkeys(map(tuple, generated.tolist())):
        named = [item for item, own in enumerate(codes_NM.tolist()) if tuple(own) == code]
        orders = [before + list(more) for before in orders for more in permutations(named)]
    return orders


@given(lists(), st.integers(1, 8))
def test_measures_are_the_mean_over_every_order_of_ties(drawn, k):
    codes_NM, generated, targets = drawn
    buckets = IdIndex(codes_NM)
    before, same = places(buckets.find(generated), buckets.of_N[targets], buckets.sizes_G)
    for row, target in enumerate(targets):
        ranks = [order.index(target) + 1 for order in every_order(codes_NM, generated[row]) if target in order]
        hits = [rank <= k for rank in ranks] or [False]
        gains = [1 / log2(1 + rank) if rank <= k else 0.0 for rank in ranks] or [0.0]
        assert recall(before, same, k)[row] == pytest.approx(np.mean(hits))
        assert ndcg(before, same, k)[row] == pytest.approx(np.mean(gains))


@given(lists())
def test_an_id_is_found_exactly_where_an_item_has_it(drawn):
    codes_NM, generated, _ = drawn
    buckets = IdIndex(codes_NM)
    found = buckets.find(generated)
    assert buckets.sizes_G.sum() == len(codes_NM)
    for code, bucket in zip(generated.reshape(-1, 2).tolist(), found.ravel(), strict=True):
        items = [item for item, own in enumerate(codes_NM.tolist()) if own == code]
        assert items == ([] if bucket < 0 else np.flatnonzero(buckets.of_N == bucket).tolist())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_popularity_ranks_by_count_and_ties_equal_counts(counts):
    targets = np.arange(len(counts))
    before, same = popularity_places(targets, np.array(counts))
    for item, count in enumerate(counts):
        assert before[item] == sum(other > count for other in counts)
        assert same[item] == counts.count(count)


def test_invalid_ids_take_no_place_and_of_duplicates_the_first_counts():
    found = np.array([[-1, 2, -1, 0, 2, 1]])
    sizes = np.array([3, 1, 1])
    assert [places(found, np.array([target]), sizes) for target in (0, 1, 2)] == [
        (np.array([1]), np.array([3])), (np.array([4]), np.array([1])), (np.array([0]), np.array([1]))
    ]  # fmt: skip
