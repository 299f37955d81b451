"""R^2, relative L1 error and cosine by depth, against plain sums in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.tokenizers.fidelity import vector_measures
from fuseid.tokenizers.measures import Measure
from fuseid.tokenizers.rq_kmeans import RQKMeans

NAMES = ("r2", "relative_l1", "cosine")


def by_name(measures: list[Measure]) -> dict[tuple[str, int | None], Measure]:
    return {(measure.name, measure.level): measure for measure in measures}


def clouds(items: int = 700, levels: int = 2, dim: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors away from the origin, decoded vectors per depth (ever nearer), and codes of that shape; many blocks."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(items, dim)) + 1
    noise = generator.normal(size=(levels, items, dim)) / (1 + np.arange(levels))[:, None, None]
    return (
        vectors.astype(np.float32),
        (vectors + noise).astype(np.float32),
        generator.integers(0, 4, (items, levels)),
    )


def expected(vectors: np.ndarray, decoded: np.ndarray) -> tuple[float, float, float]:
    vectors, decoded = vectors.astype(np.float64), decoded.astype(np.float64)
    r2 = 1 - ((vectors - decoded) ** 2).sum() / ((vectors - vectors.mean(0)) ** 2).sum()
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(vectors, decoded, strict=True)]
    return r2, np.abs(vectors - decoded).sum() / np.abs(vectors).sum(), float(np.mean(cosines))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 600), st.integers(1, 3), st.integers(1, 6), st.integers(0, 99))
def test_values_equal_their_formulas(items, levels, dim, seed):
    vectors, decoded, codes = clouds(items, levels, dim, seed)
    found = by_name(vector_measures(vectors, decoded, codes, permutations=0))
    for depth in range(1, levels + 1):
        for name, value in zip(NAMES, expected(vectors, decoded[depth - 1]), strict=True):
            assert found[name, depth].value == pytest.approx(value, abs=1e-4)
            assert found[name, depth].low <= found[name, depth].value + 1e-9
            assert found[name, depth].null is None


def test_a_tokenizer_decodes_depth_by_depth():
    vectors, *_ = clouds(400)
    tokenizer = RQKMeans.fit(vectors, (6, 6, 6), iterations=4)
    codes = tokenizer.encode(vectors)
    found = by_name(vector_measures(vectors, tokenizer.decode, codes, permutations=2))
    recorded = tokenizer.meta["metrics"]["r2_per_level"]
    assert [found["r2", depth].value for depth in (1, 2, 3)] == pytest.approx(recorded, abs=1e-4)
    ready = np.stack([tokenizer.decode(codes[:, :depth]) for depth in (1, 2, 3)])
    assert vector_measures(vectors, ready, codes, permutations=2) == list(found.values())


def test_the_null_pairs_vectors_with_what_other_items_decode_to():
    vectors, decoded, codes = clouds(40)
    found = by_name(vector_measures(vectors, decoded, codes, permutations=400))
    # The mean over all permutations pairs every vector with every decoded one.
    every, met = np.repeat(vectors, 40, axis=0), np.tile(decoded[0], (40, 1))
    for name, value in zip(NAMES, expected(every, met), strict=True):
        null = found[name, 1]
        assert null.null == pytest.approx(value, abs=0.02)
        assert null.null_low < null.null < null.null_high
    assert found["r2", 2].null_high < found["r2", 2].value
    assert found["relative_l1", 2].null_low > found["relative_l1", 2].value


def test_intervals_hold_the_truth_in_95_of_100_samples_or_nearly():
    vectors, decoded, codes = clouds(20000, 1, seed=7)
    truth = dict(zip(NAMES, expected(vectors, decoded[0]), strict=True))
    generator, held = np.random.default_rng(1), dict.fromkeys(NAMES, 0)
    for _ in range(100):
        rows = generator.integers(0, 20000, 80)
        for one in vector_measures(vectors[rows], decoded[:, rows], codes[rows], permutations=0):
            held[one.name] += one.low <= truth[one.name] <= one.high
    assert min(held.values()) >= 85, held
    assert max(held.values()) < 100, held


def test_the_seed_decides_nulls_and_intervals():
    one, again, other = (vector_measures(*clouds(60), permutations=3, seed=seed) for seed in (4, 4, 5))
    assert one == again != other
    assert [measure.value for measure in one] == [measure.value for measure in other]


@pytest.mark.parametrize(
    ("vectors", "decoded", "values"),
    [
        # Equal vectors have no variance: decoded exactly, and not.
        (np.full((3, 2), 0.1), np.full((3, 2), 0.1), (1, 0, 1)),
        (np.full((3, 2), 0.1), np.full((3, 2), 0.2), (0, 1, 1)),
        # All zero: decoded exactly, and not.
        (np.zeros((3, 2)), np.zeros((3, 2)), (1, 0, 1)),
        (np.zeros((3, 2)), np.ones((3, 2)), (0, 1, 0)),
        # One zero vector among others, and decoded to zero.
        (np.array([[0.0, 0], [2, 0]]), np.array([[0.0, 0], [2, 0]]), (1, 0, 1)),
        (np.array([[0.0, 2], [2, 0]]), np.zeros((2, 2)), (-1, 1, 0)),
        # One item.
        (np.array([[3.0, 4]]), np.array([[3.0, 4]]), (1, 0, 1)),
    ],
)
def test_degenerate_vectors_have_defined_values(vectors, decoded, values):
    codes = np.zeros((len(vectors), 1), int)
    found = vector_measures(vectors.astype(np.float32), decoded[None].astype(np.float32), codes)
    assert [measure.value for measure in found] == pytest.approx(list(values), abs=1e-6)
    figures = [figure for measure in found for figure in (measure.low, measure.high, measure.null)]
    assert all(figure is None or np.isfinite(figure) for figure in figures)
    if len(vectors) == 1:
        assert {(measure.low, measure.high) for measure in found} == {(None, None)}


GOOD = clouds(6)


@pytest.mark.parametrize(
    ("vectors", "decoded", "codes", "said"),
    [
        (np.full((6, 5), np.nan, np.float32), GOOD[1], GOOD[2], "vectors hold NaN"),
        (GOOD[0], np.full((2, 6, 5), np.inf, np.float32), GOOD[2], "decoded vectors hold NaN or infinite"),
        (GOOD[0][:5], GOOD[1], GOOD[2], "vectors of 5 items and codes of 6"),
        (GOOD[0], GOOD[1][:, :5], GOOD[2], "decoded vectors of 5 items"),
        (GOOD[0], GOOD[1][:1], GOOD[2], "1 depths and codes of 2 levels"),
        (GOOD[0], GOOD[1][..., :4], GOOD[2], "vectors of 5 numbers decode to 4"),
        (GOOD[0].astype(int), GOOD[1], GOOD[2], "must be floats"),
        (GOOD[0][:0], GOOD[1], GOOD[2][:0], "not empty"),
    ],
)
def test_vectors_that_cannot_be_measured_are_refused(vectors, decoded, codes, said):
    with pytest.raises(BadInput, match=said) as caught:
        vector_measures(vectors, decoded, codes)
    assert "\n" not in str(caught.value)
