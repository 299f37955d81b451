"""The best rows of each query are kept, whatever the order in which scores arrive; equal scores by place."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.neighbourhood.best import NO_PLACE, Best, keys_of, places_of, scores_of

SCORES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(SCORES, st.integers(0, NO_PLACE - 1)), min_size=1, max_size=30))
def test_a_key_orders_by_score_then_by_the_lower_place_and_gives_both_back(pairs):
    scores, places = np.array([one for one, _ in pairs], np.float32), np.array([one for _, one in pairs], np.uint32)
    keys = keys_of(scores, places)
    assert (keys > 0).all()
    assert (scores_of(keys) == scores).all()
    assert (places_of(keys) == places).all()
    order = sorted(range(len(pairs)), key=lambda at: (-scores[at], places[at]))
    assert keys[np.argsort(keys)[::-1]].tolist() == keys[order].tolist()


def test_an_empty_key_is_below_all_and_has_no_place():
    assert scores_of(np.zeros(1, np.uint64)) == -np.inf
    assert places_of(np.zeros(1, np.uint64)) == NO_PLACE


@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 60), st.integers(1, 20), st.integers(1, 9))
def test_the_result_is_that_of_a_sort_of_all_scores(seed, queries, rows, chunk, k):
    generator = np.random.default_rng(seed)
    # Few different scores: most of them are tied.
    scores = generator.integers(-3, 3, (queries, rows)).astype(np.float32)
    places = generator.permutation(rows).astype(np.uint32)
    own = generator.choice(np.append(places, NO_PLACE), queries).astype(np.uint32)
    best = Best(own, k)
    for start in range(0, rows, chunk):
        asked = generator.permutation(queries)
        best.add(asked, scores[asked, start : start + chunk], places[start : start + chunk])
    found = best.finish()
    for query in range(queries):
        expected = sorted(
            (-score, place)
            for score, place in zip(scores[query].tolist(), places.tolist(), strict=True)
            if place != own[query]
        )[:k]
        there = found[query][found[query] != 0]
        assert list(zip((-scores_of(there)).tolist(), places_of(there).tolist(), strict=True)) == expected
