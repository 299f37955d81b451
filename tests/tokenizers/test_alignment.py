"""Alignment: a permutation per level that keeps the most codes, and changes nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.tokenizers.alignment import kept, permutations, renumbered
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.rq_kmeans import RQKMeans


@st.composite
def two_codings(draw):
    """Earlier codes, new codes, and the sizes of both; levels and sizes may differ."""
    items = draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    earlier, sizes = (draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)) for _ in range(2))
    codes = [np.stack([generator.integers(size, size=items) for size in of], axis=1) for of in (earlier, sizes)]
    return codes[0], codes[1], tuple(sizes)


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(found, expected, strict=True))


@given(two_codings(), st.integers(0, 5))
def test_every_number_is_given_once_and_the_same_input_gives_the_same_numbers(codings, seed):
    earlier, codes, sizes = codings
    numbers = permutations(earlier, codes, sizes, seed)
    assert [sorted(level.tolist()) for level in numbers] == [list(range(size)) for size in sizes]
    assert same(numbers, permutations(earlier.copy(), codes.copy(), sizes, seed))


@given(two_codings())
def test_equal_codes_keep_their_numbers_used_or_not(codings):
    _, codes, sizes = codings
    assert same(permutations(codes, codes, sizes), [np.arange(size) for size in sizes])


@given(two_codings())
def test_items_without_a_common_code_leave_all_numbers_as_they_were(codings):
    earlier, codes, sizes = codings
    beyond = earlier + max(sizes)
    assert same(permutations(beyond, codes, sizes), [np.arange(size) for size in sizes])


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_planted_permutation_is_undone_exactly(seed, sizes):
    generator = np.random.default_rng(seed)
    # Every code has items, and items whose earlier codes agree.
    earlier = np.array(list(itertools.product(*map(range, sizes))))
    planted = [generator.permutation(size) for size in sizes]
    codes = renumbered(earlier, planted)
    numbers = permutations(earlier, codes, sizes, seed)
    assert np.array_equal(renumbered(codes, numbers), earlier)


@given(two_codings())
def test_no_other_permutation_of_the_first_level_keeps_more_items(codings):
    earlier, codes, sizes = codings
    first = kept(earlier, renumbered(codes, permutations(earlier, codes, sizes)))[0]
    counts = np.zeros((sizes[0], max(sizes[0], earlier[:, 0].max() + 1)), np.int64)
    np.add.at(counts, (codes[:, 0], earlier[:, 0]), 1)
    most = max(counts[np.arange(sizes[0]), list(order)].sum() for order in itertools.permutations(range(sizes[0])))
    assert first == pytest.approx(most / len(codes))


def test_each_level_counts_only_items_whose_earlier_codes_agree():
    # 220 items keep their first code, the 100 in the middle lose it: what their second code was does not count.
    earlier = np.array([[0, 0]] * 10 + [[0, 1]] * 10 + [[1, 0]] * 100 + [[1, 2]] * 200)
    codes = np.array([[0, 1]] * 10 + [[0, 0]] * 10 + [[0, 0]] * 100 + [[1, 2]] * 200)
    numbers = permutations(earlier, codes, (2, 3))
    assert [level.tolist() for level in numbers] == [[0, 1], [1, 0, 2]]


def test_of_equal_counts_the_code_that_had_the_number_keeps_it():
    earlier = np.array([[0], [0], [1], [1]])
    codes = np.array([[0], [1], [0], [1]])
    for seed in range(8):
        assert permutations(earlier, codes, (2,), seed)[0].tolist() == [0, 1]


def test_equal_counts_are_decided_by_the_seed():
    # Codes 2 to 5 share the items of 0 and 1 evenly, so that two of them keep a number, and any two may.
    earlier = np.repeat([[0], [1]], 4, axis=0)
    codes = np.tile([[2], [3], [4], [5]], (2, 1))
    found = {tuple(permutations(earlier, codes, (6,), seed)[0].tolist()) for seed in range(20)}
    assert len(found) > 3
    for numbers in found:
        assert {0, 1} <= {numbers[code] for code in range(2, 6)}


def test_what_is_left_over_takes_the_number_that_the_fewest_items_had_the_most_used_first():
    # Codes 2 and 3 have the most items of numbers 0 and 1, and code 2 all of number 2. Of codes 0 and 1, whose numbers
    # are taken, 1 has more items; of numbers 2 and 3, which are free, 3 had none.
    earlier = np.array([[0]] * 6 + [[1]] * 9 + [[2]] * 2)
    codes = np.array([[2]] * 5 + [[0]] + [[3]] * 6 + [[1]] * 3 + [[2]] * 2)
    for seed in range(8):
        assert permutations(earlier, codes, (4,), seed)[0].tolist() == [2, 3, 0, 1]


def test_a_smaller_codebook_keeps_the_numbers_that_it_has_and_other_levels_stay():
    earlier = np.array([[5, 1]] * 3 + [[2, 0]] * 3)
    codes = np.array([[0]] * 3 + [[1]] * 3)
    assert permutations(earlier, codes, (3,))[0].tolist()[1] == 2
    deeper = np.array([[0, 0, 1]] * 3 + [[1, 1, 0]] * 3)
    numbers = permutations(earlier, deeper, (6, 2, 2))
    assert numbers[0].tolist()[:2] == [5, 2]
    assert numbers[1].tolist() == [1, 0]
    assert numbers[2].tolist() == [0, 1]


def test_kept_is_the_share_of_items_by_depth():
    earlier = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 2], [1, 1, 2]])
    assert kept(earlier, np.array([[0, 1, 2]] * 4)) == [0.75, 0.5, 0.25]
    assert kept(earlier, np.array([[0, 1]] * 4)) == [0.75, 0.5]


@pytest.mark.parametrize(
    ("earlier", "codes", "said"),
    [
        ([[0], [1]], [[0]], "2 items have earlier codes and 1 new ones"),
        ([[0.5]], [[0]], "integers"),
        ([0], [[0]], "N, L"),
        ([[0]], [[0, 0]], "2 levels do not belong to 1 codebooks"),
        ([[-1]], [[0]], "at least 0"),
        ([[0]], [[4]], "below"),
        (np.empty((0, 1), int), np.empty((0, 1), int), "not empty"),
    ],
)
def test_codes_that_cannot_be_compared_are_refused(earlier, codes, said):
    with pytest.raises(BadInput, match=said) as caught:
        permutations(np.array(earlier), np.array(codes), (4,))
    assert "\n" not in str(caught.value)


# A tokenizer with other numbers

VECTORS = (np.random.default_rng(0).normal(size=(1500, 40)) * np.linspace(2, 0.2, 40)).astype(np.float32)
SIZES = (37, 64, 19)
TOKENIZER = RQKMeans.fit(VECTORS, SIZES, iterations=4, balanced=True)


@given(st.integers(0, 2**32 - 1))
def test_other_numbers_change_no_vector_no_error_and_no_collision(seed):
    generator = np.random.default_rng(seed)
    numbers = [generator.permutation(size) for size in SIZES]
    other = TOKENIZER.permuted(numbers, {"tokenizer": "rq-kmeans-00"})
    rows = VECTORS[: 1 + seed % 700]
    codes, permuted = TOKENIZER.encode(rows), other.encode(rows)
    assert np.array_equal(permuted, renumbered(codes, numbers))
    for depth in range(1, len(SIZES) + 1):
        assert np.array_equal(other.decode(permuted[:, :depth]), TOKENIZER.decode(codes[:, :depth]))
    collisions = [
        [measure for measure in code_measures(each, SIZES, permutations=0) if measure.name.startswith("collision")]
        for each in (codes, permuted)
    ]
    assert collisions[0] == collisions[1]


def test_other_numbers_are_another_tokenizer_that_says_to_which_it_is_aligned(tmp_path):
    numbers = [np.arange(size)[::-1] for size in SIZES]
    other = TOKENIZER.permuted(numbers, {"tokenizer": "rq-kmeans-00", "kept": [1.0]})
    assert other.id != TOKENIZER.id
    assert "aligned_to" not in TOKENIZER.meta
    other.save(tmp_path / other.id)
    loaded = RQKMeans.load(tmp_path / other.id)
    assert (loaded.id, loaded.meta["aligned_to"]["tokenizer"]) == (other.id, "rq-kmeans-00")
    assert np.array_equal(loaded.encode(VECTORS), renumbered(TOKENIZER.encode(VECTORS), numbers))
