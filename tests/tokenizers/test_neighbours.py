"""Neighbours by ID against exact neighbours: ties are compared with all their orders, the rest with plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, NotReady
from fuseid.tokenizers.measures import Measure
from fuseid.tokenizers.neighbours import exact_neighbours, neighbour_measures


def by_name(measures: list[Measure]) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures}


def common_prefix(left, right) -> int:
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=True))))


def cosine(left, right) -> float:
    norms = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / norms) if norms else 0.0


def gallery(items: int, levels: int, seed: int, codes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(items, 4)).astype(np.float32), generator.integers(0, codes, (items, levels))


def score(order, exact: set[int], k: int) -> tuple[float, float]:
    gains = [1 / math.log2(place + 2) if item in exact else 0 for place, item in enumerate(order[:k])]
    ideal = sum(1 / math.log2(place + 2) for place in range(k))
    return len(exact & set(order[:k])) / k, sum(gains) / ideal


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 7), st.integers(0, 999), st.booleans())
def test_ties_give_the_mean_over_every_order_of_the_tied(items, levels, k, seed, own):
    vectors, codes = gallery(items, levels, seed)
    queries = range(items) if own else range(min(items, 2))
    asked_vectors, asked_codes = (vectors, codes) if own else (-vectors[:2], codes[:2])
    found = by_name(
        neighbour_measures(
            asked_vectors, asked_codes, vectors, codes,
            ks=(k,), own_rows=np.arange(items) if own else None, permutations=0,
        )
    )  # fmt: skip
    recalls, ndcgs, near, random = [], [], [], []
    for query in queries:
        others = [item for item in range(items) if not (own and item == query)]
        nearest = sorted(others, key=lambda item: -cosine(asked_vectors[query], vectors[item]))
        few = min(k, len(others))
        prefix = {item: common_prefix(asked_codes[query], codes[item]) for item in others}
        orders = [
            o for o in itertools.permutations(others) if all(prefix[a] >= prefix[b] for a, b in itertools.pairwise(o))
        ]
        scores = [score(order, set(nearest[:few]), few) for order in orders]
        recalls.append(np.mean([recall for recall, _ in scores]))
        ndcgs.append(np.mean([ndcg for _, ndcg in scores]))
        near.append(np.mean([prefix[item] for item in nearest[:few]]))
        random.append(np.mean(list(prefix.values())))
    assert found[f"recall@{k}"].value == pytest.approx(np.mean(recalls))
    assert found[f"ndcg@{k}"].value == pytest.approx(np.mean(ndcgs))
    assert found[f"lcp_ratio@{k}"].value == pytest.approx(np.sum(near) / np.sum(random) if np.sum(random) else 1)


def test_the_size_of_blocks_does_not_change_the_result():
    vectors, _ = gallery(90, 3, seed=1)
    vectors[40:60] = vectors[10]
    similar = np.array([[cosine(a, b) for b in vectors] for a in vectors])
    whole = np.take_along_axis(similar, exact_neighbours(vectors, vectors, 30, np.arange(90)), 1)
    for block in ((7, 4), (64, 33), (1, 90)):
        rows = exact_neighbours(vectors, vectors, 30, np.arange(90), block=block)
        assert not (rows == np.arange(90)[:, None]).any()
        assert np.take_along_axis(similar, rows, 1) == pytest.approx(whole, abs=1e-5)


def test_exact_neighbours_are_those_of_a_full_sort_and_equals_go_to_the_lower_row():
    generator = np.random.default_rng(0)
    # Axes: cosines of exactly 0, 1 and -1, so most are tied.
    axes = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)
    vectors = axes[generator.integers(0, 6, 200)] * generator.choice([1, 2, 4], (200, 1)).astype(np.float32)
    similar = np.array([[cosine(a, b) for b in vectors] for a in vectors])
    np.fill_diagonal(similar, -np.inf)
    expected = np.argsort(-similar, axis=1, kind="stable")
    for count in (1, 10, 150, 199):
        assert np.array_equal(exact_neighbours(vectors, vectors, count, np.arange(200)), expected[:, :count])


def test_neighbours_of_many_blocks_are_those_of_a_full_sort():
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(40000, 6)).astype(np.float16)
    asked = generator.normal(size=(600, 6)).astype(np.float32)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    expected = np.argsort(-(asked[::100].astype(np.float64) @ unit.T), axis=1)[:, :20]
    assert np.array_equal(exact_neighbours(asked, vectors, 20)[::100], expected)


def test_ids_that_give_the_exact_order_score_one():
    """Three items at each corner, with the codes of the corner: the other two of a corner are the neighbours."""
    corners = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    vectors = corners + 0.01 * np.random.default_rng(0).normal(size=corners.shape).astype(np.float32)
    codes = np.stack([np.repeat(np.arange(4), 3), np.repeat(np.arange(4), 3)], 1)
    found = by_name(neighbour_measures(vectors, codes, vectors, codes, ks=(2,), own_rows=np.arange(12)))
    assert found["recall@2"].value == found["ndcg@2"].value == found["recall@2"].high == 1
    # 2 of 11 others share the query's 2 levels.
    assert found["lcp_ratio@2"].value == pytest.approx(11 / 2)
    assert found["recall@2"].null < 0.5
    assert found["lcp_ratio@2"].null == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("codes", [np.zeros((30, 2), int), np.stack([np.arange(30), np.zeros(30, int)], 1)])
def test_ids_without_information_score_as_chance(codes):
    """All codes equal, or all different at the first level: every order is equally likely."""
    vectors, _ = gallery(30, 1, seed=3)
    for measure in neighbour_measures(vectors, codes, vectors, codes, ks=(4,), own_rows=np.arange(30)):
        chance = 1 if measure.name.startswith("lcp") else 4 / 29
        figures = (measure.value, measure.low, measure.high, measure.null, measure.null_low, measure.null_high)
        assert figures == pytest.approx([chance] * 6)


def test_the_null_is_the_mean_over_all_permutations_of_ids():
    vectors, codes = gallery(5, 2, seed=8)
    options = {"ks": (2,), "own_rows": np.arange(5)}
    found = by_name(neighbour_measures(vectors, codes, vectors, codes, permutations=800, **options))
    every = []
    for order in itertools.permutations(range(5)):
        moved = codes[list(order)]
        every.append(by_name(neighbour_measures(vectors, moved, vectors, moved, permutations=0, **options)))
    for name, measure in found.items():
        assert measure.null == pytest.approx(np.mean([one[name].value for one in every]), abs=0.03)


def test_queries_from_outside_the_sample_have_a_null_value_too():
    vectors, codes = gallery(400, 2, seed=4, codes=4)
    asked, asked_codes = gallery(60, 2, seed=5, codes=4)
    found = by_name(neighbour_measures(asked, asked_codes, vectors, codes, ks=(8,), permutations=100))
    assert found["recall@8"].null == pytest.approx(8 / 400, abs=0.004)
    assert found["lcp_ratio@8"].null == pytest.approx(1, abs=0.05)
    assert found["recall@8"].null_low <= found["recall@8"].value <= found["recall@8"].null_high


def test_intervals_hold_the_mean_of_all_queries_in_95_of_100_samples_or_nearly():
    vectors, _ = gallery(1500, 1, seed=6)
    signs = (vectors[:, :3] > 0).astype(int)
    truth = by_name(neighbour_measures(vectors, signs, vectors, signs, ks=(20,), own_rows=np.arange(1500)))
    generator, held = np.random.default_rng(0), dict.fromkeys(truth, 0)
    for _ in range(100):
        own = generator.integers(0, 1500, 60)
        options = {"ks": (20,), "own_rows": own, "permutations": 0}
        for one in neighbour_measures(vectors[own], signs[own], vectors, signs, **options):
            held[one.name] += one.low <= truth[one.name].value <= one.high
    assert min(held.values()) >= 85, held
    assert max(held.values()) < 100, held


def test_the_seed_decides_nulls_and_intervals():
    vectors, codes = gallery(50, 2, seed=0)
    one, again, other = (
        neighbour_measures(vectors, codes, vectors, codes, own_rows=np.arange(50), seed=seed) for seed in (1, 1, 2)
    )
    assert one == again != other
    assert [measure.value for measure in one] == [measure.value for measure in other]
    assert [m.name for m in one] == [f"{n}@{k}" for n in ("recall", "ndcg", "lcp_ratio") for k in (10, 100)]


def test_one_query_has_no_interval_and_zero_vectors_are_near_nothing():
    vectors, codes = gallery(20, 2, seed=0)
    vectors[0] = vectors[7] = 0
    found = neighbour_measures(vectors[:1], codes[:1], vectors, codes, ks=(3,), own_rows=np.array([0]))
    assert all(np.isfinite(measure.value) and measure.low is None for measure in found)
    assert exact_neighbours(vectors[:1], vectors, 3, np.array([0])).tolist() == [[1, 2, 3]]


V, C = gallery(6, 2, seed=0)


def test_an_item_alone_has_no_neighbours():
    with pytest.raises(NotReady, match="at least one other item"):
        neighbour_measures(V[:1], C[:1], V[:1], C[:1], own_rows=np.zeros(1, int))


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((V, C, V[:1], C[:1]), {"own_rows": np.zeros(6, int)}, "other codes than their queries"),
        ((V, C, V, C), {"own_rows": np.arange(5)}, r"own_rows must be \[6\]"),
        ((V, C, V, C), {"own_rows": np.arange(1, 7)}, "rows of a gallery of 6"),
        ((V, C, V, C), {"ks": ()}, "ks must be"),
        ((V, C, V, C), {"ks": (0,)}, "ks must be"),
        ((V, C, V, C), {"ks": (5, 5)}, "ks must be"),
        ((V * np.nan, C, V, C), {}, "vectors hold NaN"),
        ((V, C, V * np.nan, C), {}, "gallery vectors hold NaN"),
        ((V[:5], C, V, C), {}, "vectors of 5 items and codes of 6"),
        ((V, C, V[:5], C), {}, "gallery vectors of 5 items"),
        ((V[:, :3], C, V, C), {}, "vectors of 3 numbers, the gallery of 4"),
        ((V, C[:, :1], V, C), {}, "codes of 1 levels, the gallery of 2"),
        ((V[:0], C[:0], V, C), {}, "not empty"),
    ],
)
def test_neighbours_that_cannot_be_measured_are_refused(arguments, options, said):
    with pytest.raises(BadInput, match=said) as caught:
        neighbour_measures(*arguments, **options)
    assert "\n" not in str(caught.value)
