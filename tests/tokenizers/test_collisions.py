"""Collision policies: capacities are respected, first items keep their codes, and the stated cost is true."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.config import RQKMeansConfig
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.collisions import Policy, alternatives, digits, placed, squared_errors
from fuseid.tokenizers.rq_kmeans import RQKMeans

VECTORS = np.random.default_rng(0).normal(size=(600, 8)).astype(np.float32)
TOKENIZER = RQKMeans.fit(VECTORS, (12, 10, 8), iterations=5)
CODES = TOKENIZER.encode(VECTORS)

codes_arrays = st.integers(1, 3).flatmap(
    lambda levels: st.lists(st.lists(st.integers(0, 3), min_size=levels, max_size=levels), min_size=1, max_size=30)
)
quick = settings(deadline=None, derandomize=True, max_examples=100)


@quick
@given(codes_arrays)
def test_buckets_have_one_number_each_and_name_one_of_their_rows(rows):
    codes = np.array(rows, np.int32)
    ids, first = bucket_ids(codes)
    assert sorted(set(ids.tolist())) == list(range(len(first)))
    assert np.array_equal(codes[first][ids], codes)
    assert len(first) == len(set(map(tuple, rows)))


def test_codes_beyond_what_one_integer_can_hold_have_their_own_buckets():
    codes = np.full((3, 12), 60_000, np.int32)
    codes[1, 0] -= 1
    ids, _ = bucket_ids(codes)
    assert ids[0] == ids[2] != ids[1]


@quick
@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_digits_count_on_in_each_bucket_in_the_order_of_the_rows(buckets, following):
    found = digits(np.array(buckets, np.int64), np.array(following)).tolist()
    for bucket in range(5):
        mine = [digit for digit, other in zip(found, buckets, strict=True) if other == bucket]
        assert mine == list(range(following[bucket], following[bucket] + len(mine)))


@st.composite
def places(draw):
    buckets = draw(st.integers(1, 8))
    number = st.integers(0, buckets - 1)
    items, options = draw(st.integers(1, 25)), draw(st.integers(1, 4))
    own = draw(st.lists(number, min_size=items, max_size=items))
    others = draw(st.lists(st.lists(number, min_size=options, max_size=options), min_size=items, max_size=items))
    following = draw(st.lists(st.integers(0, 4), min_size=buckets, max_size=buckets))
    return np.array(own), np.array(others), np.array(following), draw(st.integers(1, 3))


@quick
@given(places())
def test_an_item_takes_the_first_option_with_room_and_only_then_stays_over_capacity(case):
    own, options, following, capacity = case
    chosen, found = placed(own, options, following, capacity)
    held = {bucket: int(digit) for bucket, digit in enumerate(following)}
    for item, (option, digit) in enumerate(zip(chosen.tolist(), found.tolist(), strict=True)):
        with_room = [place for place, bucket in enumerate(options[item].tolist()) if held[bucket] < capacity]
        assert option == (with_room[0] if with_room else -1)
        bucket = int(own[item] if option < 0 else options[item, option])
        # A suffix is never given twice, and exceeds the capacity only for items that found no room.
        assert digit == held[bucket]
        assert digit < capacity or option < 0
        held[bucket] += 1


@quick
@given(places(), st.integers(0, 25))
def test_items_placed_in_two_parts_get_what_they_get_in_one(case, cut):
    own, options, following, capacity = case
    chosen, found = placed(own, options, following, capacity)
    parts, held = [], following.copy()
    for rows in (slice(None, cut), slice(cut, None)):
        part = placed(own[rows], options[rows], held, capacity)
        taken = np.where(part[0] < 0, own[rows], options[rows][np.arange(len(part[0])), part[0]])
        held = held + np.bincount(taken, minlength=len(held))
        parts.append(part)
    assert np.array_equal(np.concatenate([part[0] for part in parts]), chosen)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), found)


def test_placing_leaves_the_callers_digits_alone():
    following = np.array([1, 0])
    placed(np.array([0]), np.array([[1]]), following, 1)
    assert following.tolist() == [1, 0]


def test_alternatives_come_cheapest_first_with_their_true_cost():
    codes, extra = alternatives(TOKENIZER, VECTORS, CODES, 20)
    assert codes.shape == (600, 20, 3)
    assert (np.diff(extra, axis=1) >= -1e-4).all()
    errors = squared_errors(TOKENIZER, np.repeat(VECTORS, 20, axis=0), codes.reshape(-1, 3)).reshape(600, 20)
    assert extra == pytest.approx(errors - squared_errors(TOKENIZER, VECTORS, CODES)[:, None], abs=1e-4)
    assert all(len(set(map(tuple, rows))) == 20 for rows in codes[:50].tolist())
    alone = alternatives(TOKENIZER, VECTORS[7:8], CODES[7:8], 20)
    assert np.array_equal(alone[0][0], codes[7])


def test_a_policy_is_described_by_the_settings_that_have_an_effect():
    texts = [
        str(Policy.of(RQKMeansConfig(collisions=c, bucket_capacity=b, duplicates=d)))
        for c, b, d in itertools.product(("suffix", "reassign", "none"), (1, 2), ("separate", "share"))
    ]
    assert len(set(texts)) == 8
    assert str(Policy("suffix", bucket_capacity=3, alternatives=9)) == str(Policy())
    assert str(Policy("reassign", 3, 9)) != str(Policy("reassign", 3, 8))
    assert Policy.of(RQKMeansConfig()) == Policy()
