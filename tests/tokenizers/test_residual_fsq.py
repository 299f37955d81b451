"""A last level of FSQ: encoded as defined, decoded as other levels, and apart for items of equal earlier codes."""

from __future__ import annotations

import itertools
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput, FitFailed, NotReady
from fuseid.core.row_blocks import ArrayBlocks
from fuseid.tokenizers import fsq_training
from fuseid.tokenizers.rq_kmeans import RQKMeans
from tests.tokenizers.test_rq_kmeans import all_codes, cloud, error_of

DATA = Path(__file__).parents[1] / "data"
SIZES, LEVELS = (16, 16, 8), (4, 2)
OPTIONS = {"iterations": 8, "seed": 3, "last": "fsq", "fsq_levels": LEVELS, "fusion": "fusion-0123"}
VECTORS = cloud()
TOKENIZER = RQKMeans.fit(VECTORS, SIZES, **OPTIONS)
CODES = TOKENIZER.encode(VECTORS)
KMEANS = RQKMeans.fit(VECTORS, SIZES, iterations=8, seed=3)


def collisions(codes: np.ndarray) -> float:
    _, which, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return float((counts[which.ravel()] > 1).mean())


def test_codes_are_int32_with_a_column_per_level_and_all_are_used():
    assert (CODES.dtype, CODES.shape, TOKENIZER.codebook_sizes) == (np.int32, (len(VECTORS), 3), SIZES)
    assert [set(column) for column in CODES.T] == [set(range(size)) for size in SIZES]


def test_the_code_is_the_cell_of_the_least_cost_by_its_definition():
    """In float64 from the saved arrays, with the only path of a beam of one."""
    level, (*books, table) = TOKENIZER.fsq, [book.numpy().astype(np.float64) for book in TOKENIZER.codebooks]
    codes = TOKENIZER.encode(VECTORS, beam=1)
    coarse = books[0][codes[:, 0]] + books[1][codes[:, 1]]
    left, network = VECTORS - coarse, {name: a.astype(np.float64) for name, a in level.tensors().items()}
    y = left @ network["fsq.residual"].T + coarse @ network["fsq.coarse"].T + network["fsq.bias"]
    hidden = y[:, 2:] / (1 + np.exp(-y[:, 2:]))
    z = np.tanh(0.8 * (y[:, :2] + hidden @ network["fsq.output"].T)) * [2.0, 1.0]
    distances = np.square(z[:, None] - network["fsq.points"]).sum(2)
    costs = np.square(left[:, None] - table).sum(2) / 2 + level.weight * distances / 2
    assert (costs[np.arange(len(costs)), codes[:, 2]] <= costs.min(1) + 1e-5).all()
    points = np.array(list(itertools.product([-1.5, -0.5, 0.5, 1.5], [-0.5, 0.5])))
    assert np.array_equal(network["fsq.points"], points)


def test_of_the_paths_of_a_beam_the_one_with_the_least_error_is_taken():
    errors = [error_of(TOKENIZER, TOKENIZER.encode(VECTORS, beam=beam)).mean() for beam in (1, 2, 5, 64)]
    assert all(after <= before for before, after in itertools.pairwise(errors))
    assert errors[2] < 0.99 * errors[0]


def test_fewer_items_share_their_codes_than_with_k_means_at_nearly_the_same_r2():
    assert collisions(CODES) < 0.93 * collisions(KMEANS.encode(VECTORS))
    r2 = [each.meta["metrics"]["r2_per_level"][-1] for each in (TOKENIZER, KMEANS)]
    assert r2[0] > r2[1] - 0.02


def test_repulsion_is_what_separates_items():
    without = RQKMeans.fit(VECTORS, SIZES, **{**OPTIONS, "fsq_repulsion": 0.0})
    assert collisions(CODES) < 0.95 * collisions(without.encode(VECTORS))


def test_a_prefix_decodes_to_the_coarse_vector_and_the_whole_to_the_sum():
    books = [book.numpy() for book in TOKENIZER.codebooks]
    assert np.array_equal(TOKENIZER.decode(CODES[:5, :1]), books[0][CODES[:5, 0]])
    assert np.allclose(TOKENIZER.decode(CODES), sum(book[CODES[:, n]] for n, book in enumerate(books)), atol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 2048])
def test_candidates_are_ordered_by_the_error_of_what_they_decode_to(count):
    codes, errors = TOKENIZER.candidates(VECTORS[:20], count)
    assert codes.shape == (20, count, 3)
    assert all(len(np.unique(row, axis=0)) == count for row in codes)
    decoded = TOKENIZER.decode(codes.reshape(-1, 3)).reshape(20, count, 12)
    assert np.allclose(errors, np.square(VECTORS[:20, None] - decoded).sum(2), atol=1e-4)
    assert (np.diff(errors, axis=1) >= -1e-4).all()
    assert (errors[:, 0] <= error_of(TOKENIZER, CODES[:20], VECTORS[:20]) + 1e-4).all()
    if count == 2048:
        assert sorted(map(tuple, codes[0].tolist())) == sorted(map(tuple, all_codes(SIZES).tolist()))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(VECTORS) - 1), min_size=1, max_size=60))
def test_any_selection_in_any_order_gets_the_same_codes(rows):
    assert np.array_equal(TOKENIZER.encode(VECTORS[rows]), CODES[rows])


@pytest.mark.parametrize("row", [0, 511, 512, 1499])
def test_a_vector_has_the_same_codes_alone_and_among_all(row):
    assert np.array_equal(TOKENIZER.encode(VECTORS[row : row + 1]), CODES[row : row + 1])


def test_a_loaded_tokenizer_gives_the_codes_of_the_saved_one(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    loaded = RQKMeans.load(tmp_path / "tokenizer")
    assert (loaded.id, loaded.meta, loaded.codebook_sizes) == (TOKENIZER.id, TOKENIZER.meta, SIZES)
    assert np.array_equal(loaded.encode(VECTORS), CODES)
    assert np.array_equal(loaded.decode(CODES), TOKENIZER.decode(CODES))


def test_a_second_fit_is_the_same_artifact_for_any_number_of_threads():
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert RQKMeans.fit(ArrayBlocks(VECTORS), SIZES, **OPTIONS).id == TOKENIZER.id
    finally:
        torch.set_num_threads(before)
    assert RQKMeans.fit(VECTORS, SIZES, **{**OPTIONS, "seed": 4}).id != TOKENIZER.id


def test_codes_equal_the_golden_ones():
    golden = json.loads((DATA / "fsq.json").read_text(encoding="utf-8"))
    make = runpy.run_path(str(DATA / "make_goldens.py"))
    vectors = make["two_level_clusters"]()
    assert RQKMeans.fit(vectors, (4, 4), **make["FSQ_LAST"]).encode(vectors).tolist() == golden["rq-kmeans"]


def test_a_tokenizer_without_fsq_does_not_mention_it():
    assert not [name for name in (*KMEANS.meta, *KMEANS.tensors()) if "fsq" in name or name == "last"]
    assert {"last": "fsq", "fsq_levels": [4, 2]}.items() <= TOKENIZER.meta.items()


def test_renumbered_codes_are_the_codes_renumbered():
    numbers = [np.random.default_rng(level).permutation(size) for level, size in enumerate(SIZES)]
    renumbered = TOKENIZER.permuted(numbers, {"id": "x"})
    expected = np.stack([number[CODES[:, level]] for level, number in enumerate(numbers)], axis=1)
    assert np.array_equal(renumbered.encode(VECTORS), expected)
    assert np.array_equal(renumbered.decode(expected), TOKENIZER.decode(CODES))


def test_a_later_fit_starts_from_the_earlier_levels():
    start = RQKMeans.start_from(KMEANS, VECTORS, KMEANS.encode(VECTORS), SIZES)
    warm = RQKMeans.fit(VECTORS, SIZES, **OPTIONS, start=start)
    assert (KMEANS.encode(VECTORS)[:, 0] == warm.encode(VECTORS)[:, 0]).mean() > 0.7
    back = RQKMeans.start_from(TOKENIZER, VECTORS, CODES, SIZES)
    assert RQKMeans.fit(VECTORS, SIZES, seed=3, start=back).codebook_sizes == SIZES


def test_two_levels_and_fsq_of_two_each_by_default():
    tokenizer = RQKMeans.fit(VECTORS, (8, 16), **{**OPTIONS, "fsq_levels": None, "balanced": True})
    assert tokenizer.meta["fsq_levels"] == [2, 2, 2, 2]
    assert set(tokenizer.encode(VECTORS)[:, 1]) == set(range(16))


def test_more_dimensions_than_the_vectors_have():
    tokenizer = RQKMeans.fit(cloud(dim=3), (4, 32), **{**OPTIONS, "fsq_levels": None})
    assert tokenizer.meta["metrics"]["r2_per_level"][-1] > 0.8


def test_vectors_that_earlier_levels_reproduce_exactly_are_encoded():
    rows = np.repeat(VECTORS[:8], 4, axis=0)
    tokenizer = RQKMeans.fit(rows, (8, 2), **{**OPTIONS, "fsq_levels": None, "fsq_repulsion": 0.0, "fsq_epochs": 1})
    assert np.allclose(tokenizer.decode(tokenizer.encode(rows)), rows, atol=1e-2)


def test_progress_is_reported_step_by_step():
    steps = []
    RQKMeans.fit(VECTORS[:200], (2, 2, 4), iterations=1, last="fsq", progress=lambda *step: steps.append(step))
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("sizes", "levels", "said"),
    [
        ((8, 8), (4, 4), "make 16 codes, but the codebook has 8"),
        ((8, 6), None, "power of two, not 6"),
        ((8, 8), (8, 1), "at least 2 levels"),
        ((8,), (8,), "needs at least two"),
        ((8, 8), (2**20, 2**20), "at most 2147483647 are possible"),
    ],
)
def test_levels_that_do_not_fit_are_refused(sizes, levels, said):
    with pytest.raises(BadInput, match=said) as caught:
        RQKMeans.fit(VECTORS, sizes, last="fsq", fsq_levels=levels)
    assert "\n" not in str(caught.value)
    assert "tokenizer.codebook_sizes" in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.full((20, 4), np.nan, np.float32), BadInput),
        (np.full((20, 4), np.inf, np.float32), BadInput),
        (np.empty((0, 4), np.float32), BadInput),
        (np.repeat(VECTORS[:7], 9, axis=0), NotReady),
    ],
)
def test_vectors_that_cannot_be_fitted_on_are_refused(vectors, error):
    with pytest.raises(error):
        RQKMeans.fit(vectors, SIZES, **OPTIONS)


def test_a_training_that_diverges_names_the_level_the_figure_and_the_keys():
    with pytest.raises(
        FitFailed, match=r"last level diverged in epoch 1 of 12: its loss is nan; .*tokenizer.fsq_repulsion"
    ) as caught:
        RQKMeans.fit(VECTORS, SIZES, **{**OPTIONS, "fsq_repulsion": float("inf")})
    assert "\n" not in str(caught.value)


def test_a_level_that_collapses_names_the_level_the_figure_and_the_keys():
    with pytest.raises(FitFailed, match=r"level 3 collapsed: .* is 0.03, below 0.5; change tokenizer.a or tokenizer.b"):
        fsq_training.check_entropy(np.array([990, 10, 0, 0, 0, 0, 0, 0]), 3, ("a", "b"))


def test_a_share_of_the_prefixes_is_learned_from_where_there_are_many_vectors(monkeypatch):
    monkeypatch.setattr(fsq_training, "_ROWS", 600)
    monkeypatch.setattr(fsq_training, "_PREFIXES", 16)
    few = RQKMeans.fit(VECTORS, SIZES, **OPTIONS)
    assert few.id != TOKENIZER.id
    assert RQKMeans.fit(VECTORS, SIZES, **OPTIONS).id == few.id
    assert few.meta["metrics"]["r2_per_level"][-1] > TOKENIZER.meta["metrics"]["r2_per_level"][-1] - 0.05
