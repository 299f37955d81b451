"""Collisions and use of codes, against counting by hand; their null values and intervals against simulation."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.tokenizers.buckets import Buckets, packed, prefix_buckets
from fuseid.tokenizers.code_use import code_measures
from fuseid.tokenizers.measures import Measure

SIZES = (3, 4, 2)


def by_name(measures: list[Measure]) -> dict[tuple[str, int | None], Measure]:
    return {(measure.name, measure.level): measure for measure in measures}


def measured(codes, sizes, **options) -> dict[tuple[str, int | None], Measure]:
    return by_name(code_measures(np.asarray(codes), sizes, **options))


@st.composite
def some_codes(draw) -> tuple[np.ndarray, tuple[int, ...]]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    rows = draw(st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=1, max_size=30))
    return np.array(rows), tuple(sizes)


# --- values ---


@settings(max_examples=150, deadline=None, derandomize=True)
@given(some_codes())
def test_collisions_are_what_counting_gives(given_codes):
    codes, sizes = given_codes
    found, items = measured(codes, sizes, permutations=0), len(codes)
    ids = Counter(map(tuple, codes.tolist()))
    assert found["collision_a", None].value == pytest.approx(1 - len(ids) / items)
    assert found["collision_b", None].value == pytest.approx(sum(n for n in ids.values() if n > 1) / items)
    assert found["largest_bucket", None].value == max(ids.values())
    for depth in range(1, len(sizes) + 1):
        prefixes = [tuple(row[:depth]) for row in codes.tolist()]
        alike = sum(a == b for i, a in enumerate(prefixes) for b in prefixes[:i])
        pairs = items * (items - 1) / 2
        assert found["prefix_pairs", depth].value == pytest.approx(alike / pairs if pairs else 0)
        lonely = sum(prefixes.count(prefix) == 1 for prefix in prefixes)
        assert found["prefix_collision", depth].value == pytest.approx(1 - lonely / items)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(some_codes())
def test_use_of_codes_is_what_counting_gives(given_codes):
    codes, sizes = given_codes
    found, items = measured(codes, sizes, permutations=0), len(codes)
    for level, size in enumerate(sizes, 1):
        counts = [codes[:, level - 1].tolist().count(code) for code in range(size)]
        occupied = [count for count in counts if count]
        entropy = -sum(n / items * math.log(n / items) for n in occupied)
        expected = {
            "utilisation": len(occupied) / size,
            "dead_codes": counts.count(0),
            "perplexity": math.exp(entropy),
            "normalised_entropy": entropy / math.log(size) if size > 1 else 1,
            "gini_occupied": gini(occupied),
            "gini_all": gini(counts),
        }
        for name, value in expected.items():
            assert found[name, level].value == pytest.approx(value, abs=1e-9), name


def gini(counts: list[int]) -> float:
    """The Gini coefficient by its other definition: half the relative mean absolute difference."""
    differences = sum(abs(a - b) for a in counts for b in counts)
    return differences / (2 * len(counts) * sum(counts))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(some_codes(), st.data())
def test_over_distinct_vectors_copies_count_once(given_codes, data):
    codes, sizes = given_codes
    groups = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(codes), max_size=len(codes))))
    ids_of: dict[int, set] = {}
    for group, row in zip(groups.tolist(), map(tuple, codes.tolist()), strict=True):
        ids_of.setdefault(group, set()).add(row)
    sharing = [g for g in ids_of if any(ids_of[g] & ids_of[other] for other in ids_of if other != g)]
    for names in (groups, np.char.add("fingerprint-", groups.astype(str))):
        found = measured(codes, sizes, shared_with=names, permutations=0)
        assert found["collision_b_distinct", None].value == pytest.approx(len(sharing) / len(ids_of))


def test_distinct_vectors_are_all_items_where_none_is_a_copy():
    codes = random_codes(400, SIZES, seed=2)
    found = measured(codes, SIZES, shared_with=np.arange(400)[::-1])
    assert found["collision_b_distinct", None].value == found["collision_b", None].value
    assert measured(codes, SIZES, shared_with=np.zeros(400))["collision_b_distinct", None].value == 0


def test_perfectly_even_codes_have_full_use():
    codes = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), axis=-1).reshape(-1, 3)
    found = measured(codes, SIZES)
    for level, size in enumerate(SIZES, 1):
        assert found["perplexity", level].value == pytest.approx(size)
        assert found["normalised_entropy", level].value == pytest.approx(1)
        assert found["gini_all", level].value == found["gini_occupied", level].value == 0
        assert (found["utilisation", level].value, found["dead_codes", level].value) == (1, 0)
    assert found["collision_a", None].value == found["collision_b", None].value == 0
    assert found["largest_bucket", None].value == 1


def test_all_items_with_one_id_collide_and_have_no_entropy():
    found = measured(np.ones((50, 3), int), SIZES)
    assert found["collision_a", None].value == pytest.approx(0.98)
    assert found["collision_b", None].value == 1
    assert (found["collision_b", None].low, found["collision_b", None].high) == (None, None)
    assert found["largest_bucket", None].value == 50
    for level, size in enumerate(SIZES, 1):
        assert (found["perplexity", level].value, found["normalised_entropy", level].value) == (1, 0)
        assert found["gini_occupied", level].value == 0
        assert found["gini_all", level].value == pytest.approx(1 - 1 / size)
        assert found["dead_codes", level].value == size - 1


def test_one_item_and_one_code_have_defined_values():
    found = measured([[0, 2]], (1, 3), shared_with=["a"])
    assert {found[name, None].value for name in ("collision_a", "collision_b", "collision_b_distinct")} == {0}
    assert (found["largest_bucket", None].value, found["prefix_pairs", 2].value) == (1, 0)
    assert (found["normalised_entropy", 1].value, found["gini_all", 1].value) == (1, 0)
    assert all(math.isfinite(measure.value) for measure in found.values())
    assert {(measure.low, measure.high) for measure in found.values()} == {(None, None)}


def test_codes_whose_product_overflows_an_integer_are_counted_exactly():
    """2^63 possible keys are passed at depth 3 and again at depth 5."""
    sizes = (2**24, 2**24, 2**24, 2**20, 2**30)
    generator = np.random.default_rng(0)
    codes = np.stack([generator.choice([0, 5, size - 1], 500) for size in sizes], axis=1)
    expected = [Counter(Counter(map(tuple, codes[:, :depth].tolist())).values()) for depth in range(1, 6)]
    found = prefix_buckets(list(codes.T), sizes)
    assert [dict(zip(b.sizes.tolist(), b.how_many.tolist(), strict=True)) for b in found] == expected
    keys = packed(list(codes.T), sizes)
    assert (keys >= 0).all()
    assert np.array_equal(keys.argsort(kind="stable"), np.lexsort(codes.T[::-1]))
    assert np.array_equal(keys % sizes[-1], codes[:, -1])


# --- null values ---


def random_codes(items: int, sizes, seed: int) -> np.ndarray:
    """Levels that depend on each other, and are used unevenly."""
    generator = np.random.default_rng(seed)
    hidden = generator.random(items)
    return np.stack([((hidden + 0.3 * generator.random(items)) ** 2 / 1.7 * size).astype(int) for size in sizes], 1)


def test_the_null_of_collisions_is_the_mean_over_all_permutations_of_each_level():
    codes = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0], [2, 0, 0], [0, 2, 1]])
    found = measured(codes, (3, 3, 2), permutations=3000)
    orders = [list(order) for order in itertools.permutations(range(5))]
    every = [
        Counter(zip(codes[:, 0].tolist(), codes[second, 1].tolist(), codes[third, 2].tolist(), strict=True))
        for second in orders
        for third in orders
    ]
    sharing = [sum(n for n in ids.values() if n > 1) / 5 for ids in every]
    assert found["collision_b", None].null == pytest.approx(np.mean(sharing), abs=0.02)
    assert found["collision_a", None].null == pytest.approx(np.mean([1 - len(ids) / 5 for ids in every]), abs=0.02)
    assert found["largest_bucket", None].null == pytest.approx(np.mean([max(ids.values()) for ids in every]), abs=0.05)
    for end, quantile in ((found["collision_b", None].null_low, 0.025), (found["collision_b", None].null_high, 0.975)):
        assert end == pytest.approx(np.quantile(sharing, quantile))


def test_the_null_keeps_the_use_of_each_level():
    """Pairs: each level's chance to agree by itself, times that of the others."""
    sizes = (6, 5, 4)
    codes = random_codes(60, sizes, seed=1)
    found = measured(codes, sizes, permutations=400)
    counts = [np.bincount(level, minlength=size) for level, size in zip(codes.T, sizes, strict=True)]
    alike = [(count * (count - 1)).sum() / 60 / 59 for count in counts]
    assert found["prefix_pairs", 2].null == pytest.approx(alike[0] * alike[1], abs=0.001)
    assert found["prefix_pairs", 3].null == pytest.approx(math.prod(alike), abs=0.001)
    null = found["collision_b", None]
    assert null.null_low < null.null < null.null_high < null.value
    assert found["prefix_collision", 3].null == null.null


def test_where_levels_are_independent_the_null_holds_the_value():
    generator = np.random.default_rng(5)
    codes = np.stack([generator.choice(30, 600, p=np.arange(1, 31) / 465) for _ in range(3)], 1)
    found = measured(codes, (30, 30, 30), permutations=200)
    for name in ("collision_a", "collision_b"):
        assert found[name, None].null_low <= found[name, None].value <= found[name, None].null_high


def test_the_null_of_use_is_that_of_uniform_codes():
    found = measured(np.zeros((40, 1), int), (20,), permutations=300)
    generator = np.random.default_rng(9)
    drawn = [len(np.unique(generator.integers(20, size=40))) / 20 for _ in range(2000)]
    assert found["utilisation", 1].null == pytest.approx(1 - (1 - 1 / 20) ** 40, abs=0.01)
    assert found["utilisation", 1].null_low == pytest.approx(np.quantile(drawn, 0.025), abs=0.06)
    # The entropy of few random codes falls short of log K by (K - 1) / 2N, to first order (Miller and Madow).
    few = measured(np.zeros((4000, 1), int), (20,), permutations=300)["normalised_entropy", 1]
    assert 1 - few.null == pytest.approx(19 / 8000 / math.log(20), rel=0.1)


def test_measures_without_a_null_value_report_none():
    single = measured(random_codes(50, (5,), seed=0), (5,))
    assert single["collision_b", None].null is None
    several = measured(random_codes(50, SIZES, seed=0), SIZES)
    assert several["prefix_collision", 1].null is None
    assert several["prefix_collision", 2].null is not None
    assert all(measure.null is None for measure in measured(np.zeros((9, 2), int), (2, 2), permutations=0).values())


def test_the_seed_decides_the_nulls_and_nothing_else():
    codes = random_codes(300, SIZES, seed=3)
    first, again, other = (code_measures(codes, SIZES, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [(m.value, m.low, m.high) for m in first] == [(m.value, m.low, m.high) for m in other]
    beside = measured(codes, SIZES, seed=1, shared_with=np.arange(300) // 2)
    assert [beside[m.name, m.level] for m in first] == first


# --- intervals ---


def cover(sizes, draw, names, simulations=100) -> dict[str, float]:
    """How often the interval holds the mean over catalogues."""
    catalogues = [measured(draw(seed), sizes, permutations=0) for seed in range(simulations)]
    truth = {name: np.mean([c[name].value for c in catalogues]) for name in names}
    return {name[0]: np.mean([c[name].low <= truth[name] <= c[name].high for c in catalogues]) for name in names}


@pytest.mark.parametrize("items", [60, 600])
def test_intervals_hold_the_mean_over_catalogues(items):
    weights = 1 / np.arange(1, 401) ** 0.7
    weights /= weights.sum()

    def catalogue(seed):
        cells = np.random.default_rng(seed).choice(400, items, p=weights)
        return np.stack([cells // 20, cells % 20], 1)

    names = [("collision_a", None), ("collision_b", None), ("prefix_pairs", 2), ("prefix_collision", 2)]
    names += [(name, 1) for name in ("perplexity", "normalised_entropy", "gini_all", "gini_occupied", "prefix_pairs")]
    names += [(name, level) for name in ("utilisation", "dead_codes") for level in (1, 2)]
    covered = cover((20, 20), catalogue, names)
    assert min(covered.values()) >= 0.85, covered


def test_the_interval_of_collisions_holds_for_whole_buckets_drawn():
    """Items come in clusters, as copies do: far fewer observations than items."""
    generator = np.random.default_rng(0)
    sizes, chances = np.array([1, 2, 30]), np.array([0.9, 0.08, 0.02])
    truth = 1 - (sizes * chances)[0] / (sizes @ chances)
    held = 0
    for _ in range(100):
        buckets = Buckets.of(generator.choice(sizes, 400, p=chances))
        low, high = buckets.interval(buckets.sharing, np.where(buckets.sizes > 1, buckets.sizes, 0))
        held += low <= truth <= high
    assert held >= 85


def test_an_interval_without_an_observed_collision_still_allows_some():
    found = measured(np.arange(200)[:, None], (500,))["collision_b", None]
    assert found.value == found.low == 0
    # Wilson: z^2 / (n + z^2).
    assert found.high == pytest.approx(3.8415 / 203.8415, rel=1e-3)


def test_intervals_are_narrow_for_large_buckets_and_wide_for_pairs():
    large, pairs = (measured(np.repeat(np.arange(9), n)[:, None], (9,))["collision_b", None] for n in (60, 2))
    assert large.value == pairs.value == large.high == pairs.high == 1
    assert large.low > 0.999
    assert pairs.low < 0.9


@settings(max_examples=60, deadline=None, derandomize=True)
@given(some_codes())
def test_every_interval_holds_its_value(given_codes):
    codes, sizes = given_codes
    for measure in code_measures(codes, sizes, shared_with=codes[:, 0], permutations=2):
        assert (measure.low is None) == (measure.high is None)
        if measure.low is not None:
            assert measure.low <= measure.value <= measure.high


# --- input ---


@pytest.mark.parametrize(
    ("codes", "sizes", "options", "said"),
    [
        (np.zeros((0, 3), int), SIZES, {}, "not empty"),
        (np.zeros((3, 0), int), (), {}, "not empty"),
        (np.zeros(3, int), SIZES, {}, r"\[N, L\]"),
        (np.zeros((3, 3)), SIZES, {}, "whole numbers"),
        (np.full((3, 3), -1), SIZES, {}, "count from 0, got -1"),
        (np.full((3, 3), 2), SIZES, {}, "code 2 of level 3 is beyond its 2 codes"),
        (np.zeros((3, 2), int), SIZES, {}, "2 levels and sizes of 3"),
        (np.zeros((3, 3), int), SIZES, {"shared_with": np.zeros(2)}, "one for each item"),
    ],
)
def test_codes_that_cannot_be_measured_are_refused(codes, sizes, options, said):
    with pytest.raises(BadInput, match=said) as caught:
        code_measures(codes, sizes, **options)
    assert "\n" not in str(caught.value)
