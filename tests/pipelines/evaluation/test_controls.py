"""Controls keep the number of codes and unique IDs, and nothing of the content."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.evaluation.controls import Ids, hashed_ids, random_ids

SIZES = (8, 6)


def semantic(count: int = 60) -> Ids:
    """Unique IDs: suffixes distinguish items with the same codes."""
    rows = np.arange(count)
    return Ids("semantic", np.column_stack([rows % 4, rows // 4 % 5, rows // 20]).astype(np.int32), SIZES)


@given(st.integers(0, 50))
def test_random_ids_are_the_same_ids_of_other_items(seed):
    ids = semantic()
    found = random_ids(ids, seed)
    assert sorted(map(tuple, found.codes_NM)) == sorted(map(tuple, ids.codes_NM))
    assert (found.codebook_sizes, found.codes_NM.dtype) == (SIZES, ids.codes_NM.dtype)
    assert (found.codes_NM == random_ids(ids, seed).codes_NM).all()
    assert (found.codes_NM != random_ids(ids, seed + 1).codes_NM).any()


@given(st.lists(st.text(max_size=5), min_size=1, max_size=60, unique=True), st.integers(0, 5))
def test_hashed_ids_are_unique_and_depend_on_the_content_id_alone(names, seed):
    found = hashed_ids(names, SIZES, seed).codes_NM
    assert len({tuple(row) for row in found}) == len(names)
    assert (found[:, :-1] >= 0).all()
    assert (found[:, :-1] < SIZES).all()
    turned = hashed_ids(names[::-1], SIZES, seed).codes_NM[::-1]
    assert (turned[:, :-1] == found[:, :-1]).all()


def test_suffixes_of_hashed_ids_have_no_gap():
    found = hashed_ids([f"i{n}" for n in range(400)], SIZES, 0).codes_NM
    for codes in np.unique(found[:, :-1], axis=0):
        digits = found[(found[:, :-1] == codes).all(1), -1]
        assert digits.tolist() == list(range(len(digits)))


def test_hashes_spread_over_all_codes_evenly():
    found = hashed_ids([f"i{n}" for n in range(4800)], SIZES, 3).codes_NM
    for level, size in enumerate(SIZES):
        counts = np.bincount(found[:, level], minlength=size)
        assert abs(counts - 4800 / size).max() < 5 * np.sqrt(4800 / size)
    assert abs(np.corrcoef(found[:, 0], found[:, 1])[0, 1]) < 0.05


def test_ids_of_a_wrong_number_of_levels_are_refused():
    with pytest.raises(ValueError, match="2 levels"):
        Ids("x", np.zeros((3, 2), np.int32), SIZES)
