"""Cold items near a history are those of a plain comparison of codes, and get no more places than their share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.tokenizers.cold import beside, cold_neighbours
from fuseid.tokenizers.trie import Trie

quick = settings(deadline=None, derandomize=True, max_examples=100)
# Few codes, so that items share prefixes; the last column makes IDs different.
CODES = np.random.default_rng(0).permutation(np.indices((3, 3, 3, 2)).reshape(4, -1).T)[:32]
COLD = np.random.default_rng(2).random(len(CODES)) < 0.5
TRIE = Trie.build(CODES)
numbers = st.lists(st.integers(0, 8), unique=True)


def plain(history: np.ndarray, count: int, codes: int, own: set[int]) -> list[tuple[int, int]]:
    """(item, codes shared): every cold item compared with every item of the history."""
    found = []
    for item in np.flatnonzero(COLD).tolist():
        equal = np.cumprod(CODES[history] == CODES[item], 1).sum(1)
        shared = int(equal.max(initial=0))
        if shared >= codes and item not in own:
            newest = int(np.flatnonzero(equal == shared).max())
            found.append((-shared, -newest, CODES[item].tolist(), item))
    return [(item, -shared) for shared, _, _, item in sorted(found)][:count]


@quick
@given(
    histories=st.lists(st.lists(st.integers(0, len(CODES) - 1), max_size=4), max_size=3),
    count=st.integers(0, 6),
    codes=st.integers(1, 4),
    known=st.booleans(),
)
def test_neighbours_are_those_of_a_plain_comparison(histories, count, codes, known):
    items = [np.array(history, np.int64) for history in histories]
    own = histories if known else None
    found = cold_neighbours(TRIE.filtered(COLD), [CODES[history] for history in items], count, codes, own)
    for near, history in zip(found, items, strict=True):
        expected = plain(history, count, codes, set(history.tolist()) if known else set())
        assert list(zip(near.items, near.shared, strict=True)) == expected
        assert near.sharing(3) == [item for item, shared in expected if shared >= 3]


def test_histories_of_ids_without_the_suffix_find_the_same_items_down_to_it():
    whole, short = (cold_neighbours(TRIE.filtered(COLD), [CODES[~COLD][:5, :levels]], 50, 2)[0] for levels in (4, 3))
    assert set(whole.items) == set(short.items)
    assert max(short.shared) == 3


@quick
@given(listed=numbers, cold=numbers, share=st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, 1.0]))
def test_every_beginning_of_a_list_has_at_most_the_share_of_cold_items(listed, cold, share):
    found = beside(listed, cold, share)
    assert len(found) == len(set(found)) == len(listed)
    assert [one for one in found if one not in cold] == [one for one in listed if one not in cold][
        : sum(one not in cold for one in found)
    ], "warm items keep their order"
    new = [one for one in found if one not in listed]
    for k in range(1, len(found) + 1):
        assert sum(one in new for one in found[:k]) <= share * k + 1e-6
    if cold and not set(cold) & set(listed):
        assert len(new) == min(int(share * len(listed) + 1e-6), len(cold)), "a share that is there is used"


def test_every_fifth_place_is_for_cold_items_and_the_others_move_down():
    assert beside([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [91, 92, 93], 0.2) == [1, 2, 3, 4, 91, 5, 6, 7, 8, 92]


def test_a_cold_item_that_was_generated_has_one_place_the_better_one():
    assert beside([1, 91, 2, 3], [91], 0.5) == [1, 91, 2, 3]
    assert beside([1, 2, 3, 91], [91], 0.5) == [1, 91, 2, 3]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(BadInput, match="from 0 to 1"):
        beside([1], [2], share)


def test_neighbours_share_at_least_one_code():
    with pytest.raises(BadInput, match="1 or more codes"):
        cold_neighbours(TRIE, [CODES[:1]], 5, 0)


def test_without_cold_items_there_are_no_neighbours():
    assert cold_neighbours(TRIE.filtered(np.zeros(len(CODES), bool)), [CODES[:2]], 5, 1)[0].items == []
    assert cold_neighbours(TRIE, [], 5, 1) == []
