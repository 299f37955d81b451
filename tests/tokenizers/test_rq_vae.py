"""RQ-VAE: begins as RQ-KMeans and improves on it, is deterministic, and the same for a vector alone or among many."""

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

from fuseid.core.errors import ArtifactError, BadInput, FitFailed, NotReady
from fuseid.core.row_blocks import ArrayBlocks, Block
from fuseid.tokenizers.rq_kmeans import RQKMeans
from fuseid.tokenizers.rq_vae import RQVAE

DATA = Path(__file__).parents[1] / "data"
SIZES = (8, 8, 4)
FAST = {"hidden": 16, "epochs": 3, "refinements": 2, "iterations": 4}


def curved(rows: int = 2400, seed: int = 0) -> np.ndarray:
    """float32 [N, 12]: two angles on a torus, bent into 12 numbers, with noise; a linear decoder loses what bends."""
    generator = np.random.default_rng(seed)
    angles = generator.uniform(0, 2 * np.pi, (rows, 2))
    waves = [wave(turns * angles) for wave in (np.sin, np.cos) for turns in (1, 2, 3)]
    return (np.concatenate(waves, axis=1) + 0.1 * generator.normal(size=(rows, 12)) + 0.5).astype(np.float32)


VECTORS = curved()
TOKENIZER = RQVAE.fit(VECTORS, SIZES, seed=3, fusion="fusion-0123", **FAST)
CODES = TOKENIZER.encode(VECTORS)


def r2(tokenizer, vectors: np.ndarray, codes: np.ndarray) -> float:
    left = np.square(vectors - tokenizer.decode(codes), dtype=np.float64).sum()
    return 1 - left / np.square(vectors - vectors.mean(0), dtype=np.float64).sum()


def test_codes_are_int32_with_a_column_per_level_within_the_codebook_sizes():
    assert (CODES.dtype, CODES.shape) == (np.int32, (len(VECTORS), len(SIZES)))
    assert (CODES >= 0).all()
    assert (CODES < SIZES).all()
    assert set(CODES[:, 0]) == set(range(SIZES[0]))


def test_the_metrics_are_those_of_the_fitting_data():
    metrics = TOKENIZER.meta["metrics"]
    assert metrics["sample"] == len(VECTORS)
    for level, found in enumerate(metrics["r2_per_level"], 1):
        assert found == pytest.approx(r2(TOKENIZER, VECTORS, CODES[:, :level]), abs=1e-4)
    assert metrics["utilisation_per_level"] == [1.0, 1.0, 1.0]


def test_without_balance_epoch_0_is_rq_kmeans_and_training_improves_on_it():
    options = {"refinements": 0, "iterations": 4, "beam": 3, "seed": 1}
    plain = RQKMeans.fit(VECTORS[:1200], SIZES, **options)
    trained = RQVAE.fit(
        VECTORS[:1200], SIZES, balance="none", hidden=64, epochs=12, learning_rate=5e-3, batch_size=64, **options
    )
    metrics = trained.meta["metrics"]
    # With so few vectors none is held out, and with one refinement less than RQ-KMeans needs to be its equal.
    first = RQKMeans.fit(VECTORS[:1200], SIZES, **{**options, "refinements": 1}).meta["metrics"]["r2_per_level"][-1]
    assert metrics["history"][0]["r2"] == pytest.approx(first, abs=1e-4)
    assert first > plain.meta["metrics"]["r2_per_level"][-1]
    assert metrics["best_epoch"] > 0
    assert metrics["r2_per_level"][-1] > first + 0.01
    unseen = curved(1000, seed=9)
    assert r2(trained, unseen, trained.encode(unseen)) > r2(plain, unseen, plain.encode(unseen)) + 0.01


def test_the_history_has_the_figures_of_every_epoch_and_the_best_was_kept():
    metrics = TOKENIZER.meta["metrics"]
    history = metrics["history"]
    assert [row["epoch"] for row in history] == [0, 1, 2, 3]
    assert metrics["best_epoch"] == max(history, key=lambda row: row["r2"])["epoch"]
    for row in history:
        assert row["r2"] == row["r2_per_level"][-1]
        assert [len(row[name]) for name in ("entropy", "dead", "residual")] == [3, 3, 3]
        assert all(0.9 < entropy <= 1 for entropy in row["entropy"])
        assert row["dead"] == [0, 0, 0]
        assert row["residual"] == sorted(row["residual"], reverse=True)


def test_patience_ends_a_fit_that_does_not_improve():
    """At this rate, training only does harm."""
    fitted = RQVAE.fit(VECTORS, SIZES, learning_rate=0.3, patience=2, **{**FAST, "epochs": 50}, least_entropy=0)
    metrics = fitted.meta["metrics"]
    assert len(metrics["history"]) == metrics["best_epoch"] + 3 < 20


def test_the_history_is_not_part_of_the_id():
    meta = {**TOKENIZER.meta, "metrics": {}}
    assert RQVAE(meta, TOKENIZER._quantizer).id == TOKENIZER.id


@pytest.mark.parametrize(("latent_dim", "estimator"), [(5, "ste"), (None, "rotation"), (40, "ste")])
def test_a_loaded_tokenizer_gives_the_codes_of_the_saved_one(tmp_path, latent_dim, estimator):
    tokenizer = RQVAE.fit(VECTORS, SIZES, latent_dim=latent_dim, estimator=estimator, **FAST)
    tokenizer.save(tmp_path / "tokenizer")
    loaded = RQVAE.load(tmp_path / "tokenizer")
    codes = tokenizer.encode(VECTORS)
    assert loaded.id == tokenizer.id
    assert loaded.id.startswith("rq-vae-")
    assert (loaded.codebook_sizes, loaded.dim, loaded.meta) == (SIZES, 12, tokenizer.meta)
    assert np.array_equal(loaded.encode(VECTORS), codes)
    assert np.array_equal(loaded.decode(codes), tokenizer.decode(codes))
    assert r2(tokenizer, VECTORS, codes) > 0.3


def test_an_altered_artifact_is_refused(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    tensors = tmp_path / "tokenizer" / "tensors.safetensors"
    blob = bytearray(tensors.read_bytes())
    blob[-2] ^= 4
    tensors.write_bytes(blob)
    with pytest.raises(ArtifactError, match="was altered"):
        RQVAE.load(tmp_path / "tokenizer")


class Pieces:
    """Blocks whose rows are read in pieces of another size."""

    def __init__(self, blocks) -> None:
        self._blocks = blocks
        self.rows, self.dim, self.count = blocks.rows, blocks.dim, blocks.count
        self.most_read = 0

    def map(self, work):
        return map(work, map(self._block, range(self.count)))

    def _block(self, number: int) -> Block:
        return self._blocks._blocks[number]

    def read(self, number: int) -> np.ndarray:
        found = self._blocks.read(number).copy()
        self.most_read = max(self.most_read, len(found))
        return found

    def sample(self, rows: int) -> np.ndarray:
        return self._blocks.sample(rows)


def test_the_bits_are_those_of_any_number_of_threads_and_any_source_of_blocks():
    vectors = curved(5000)
    options = {**FAST, "epochs": 2, "batch_size": 700}
    source = Pieces(ArrayBlocks(vectors))
    threads = torch.get_num_threads()
    try:
        found = []
        for number, given_vectors in ((1, vectors), (2, vectors), (3, source)):
            torch.set_num_threads(number)
            found.append(RQVAE.fit(given_vectors, SIZES, **options))
    finally:
        torch.set_num_threads(threads)
    assert found[0].id == found[1].id == found[2].id
    assert found[0].meta["metrics"] == found[1].meta["metrics"] == found[2].meta["metrics"]
    assert source.count > 1
    assert source.most_read < 5000


def test_a_second_fit_is_the_same_artifact_and_another_seed_is_another():
    again = RQVAE.fit(curved(), SIZES, seed=3, fusion="fusion-0123", **FAST)
    other = RQVAE.fit(curved(), SIZES, seed=4, fusion="fusion-0123", **FAST)
    assert again.id == TOKENIZER.id != other.id
    assert again.meta == TOKENIZER.meta


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(VECTORS) - 1), min_size=1, max_size=60))
def test_any_selection_in_any_order_gets_the_same_codes_and_vectors(rows):
    assert np.array_equal(TOKENIZER.encode(VECTORS[rows]), CODES[rows])
    assert np.array_equal(TOKENIZER.decode(CODES[rows]), TOKENIZER.decode(CODES)[rows])


@pytest.mark.parametrize("row", [0, 511, 512, 2399])
def test_a_vector_has_the_same_codes_alone_and_among_all(row):
    assert np.array_equal(TOKENIZER.encode(VECTORS[row : row + 1]), CODES[row : row + 1])


def test_each_level_adds_to_r2():
    shares = [r2(TOKENIZER, VECTORS, CODES[:, :level]) for level in (1, 2, 3)]
    assert all(after > before + 0.05 for before, after in itertools.pairwise([0.0, *shares]))


def test_a_wider_beam_finds_latents_that_are_nearer():
    errors = []
    latents = TOKENIZER._quantizer.latents(torch.from_numpy(VECTORS))
    for beam in (1, 5, 64):
        codes = torch.from_numpy(TOKENIZER.encode(VECTORS, beam=beam)).long()
        prices, left = TOKENIZER._quantizer.prices, latents - TOKENIZER._quantizer.quantized(codes)
        cost = left.square().sum(1) / 2 + sum(price[codes[:, n]] for n, price in enumerate(prices.codes))
        for level, table in enumerate(prices.pairs, 1):
            for before in range(level):
                cost += table[codes[:, before] + sum(SIZES[:before]), codes[:, level]]
        errors.append(float(cost.mean()))
    assert errors[0] > errors[1] >= errors[2] - 1e-6


@pytest.mark.parametrize("count", [1, 7, 40, 256])
def test_candidates_are_different_codes_with_their_errors_in_the_space_of_the_vectors_in_order(count):
    rows = VECTORS[:300]
    codes, errors = TOKENIZER.candidates(rows, count)
    assert (codes.dtype, codes.shape) == (np.int32, (300, count, len(SIZES)))
    assert len(np.unique(codes[0], axis=0)) == count
    assert (np.diff(errors, axis=1) >= 0).all()
    found = np.square(rows[:, None] - TOKENIZER.decode(codes.reshape(-1, 3)).reshape(300, count, 12)).sum(2)
    assert np.allclose(errors, found, atol=1e-5)
    own = np.square(rows - TOKENIZER.decode(CODES[:300])).sum(1)
    if count >= 7:
        assert (errors[:, 0] <= own + 1e-5).all()


def test_asking_for_more_candidates_than_codes_gives_all_codes():
    codes, _ = TOKENIZER.candidates(VECTORS[:3], 10_000)
    assert [len(np.unique(row, axis=0)) for row in codes] == [8 * 8 * 4] * 3


def test_permuted_it_is_the_same_with_other_numbers(tmp_path):
    generator = np.random.default_rng(5)
    numbers = [generator.permutation(size) for size in SIZES]
    moved = TOKENIZER.permuted(numbers, {"tokenizer": "rq-vae-0"})
    codes = moved.encode(VECTORS)
    assert np.array_equal(codes, np.stack([number[code] for number, code in zip(numbers, CODES.T, strict=True)], 1))
    assert np.array_equal(moved.decode(codes), TOKENIZER.decode(CODES))
    assert moved.id != TOKENIZER.id
    moved.save(tmp_path / "moved")
    assert np.array_equal(RQVAE.load(tmp_path / "moved").encode(VECTORS), codes)


def test_codes_equal_the_golden_ones():
    golden = json.loads((DATA / "rq_vae.json").read_text(encoding="utf-8"))
    made = runpy.run_path(str(DATA / "make_goldens.py"))
    tokenizer = RQVAE.fit(made["two_level_clusters"](), golden["codebook_sizes"], **made["RQ_VAE"])
    assert tokenizer.encode(made["two_level_clusters"]()).tolist() == golden["codes"]


def test_progress_is_reported_step_by_step():
    steps = []
    RQVAE.fit(VECTORS, SIZES, **FAST, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(done, 8) for done in range(9)]


# --- what cannot be fitted or encoded ---


def test_a_fit_that_diverges_names_level_figure_and_keys():
    with pytest.raises(FitFailed) as caught:
        RQVAE.fit(VECTORS * 1e3, SIZES, **{**FAST, "commitment": 1e38, "learning_rate": 1.0})
    said = str(caught.value)
    assert said.startswith("the fit diverged in epoch 1: the error after level 3 is ")
    assert said.endswith("; set tokenizer.learning_rate or tokenizer.commitment smaller")
    assert ("nan" in said or "inf" in said, "\n" in said, caught.value.exit_status) == (True, False, 1)


def test_a_level_that_collapses_is_named_with_its_entropy_and_the_keys():
    one_in_ten = np.concatenate([VECTORS[:200], np.repeat(VECTORS[200:201], 2000, axis=0)])
    with pytest.raises(FitFailed) as caught:
        RQVAE.fit(one_in_ten, (8, 8), balance="none", **FAST)
    assert str(caught.value).startswith("level 1 collapsed in epoch 0: the normalised entropy of its codes is 0.")
    assert "under tokenizer.least_entropy 0.5; set tokenizer.balance_codes larger" in str(caught.value)
    assert RQVAE.fit(one_in_ten, (8, 8), balance="none", least_entropy=0.0, **FAST).id


def test_levels_after_an_exact_fit_are_finite_where_the_limit_allows_it():
    tokenizer = RQVAE.fit(VECTORS[:4], (4, 4, 4), least_entropy=0.0, **FAST)
    assert np.allclose(tokenizer.decode(tokenizer.encode(VECTORS[:4])), VECTORS[:4], atol=0.1)


@pytest.mark.parametrize("repeated", [1, 9])
def test_a_fit_needs_enough_different_vectors(repeated):
    with pytest.raises(NotReady, match="7 distinct vectors cannot fill a codebook of 8"):
        RQVAE.fit(np.repeat(VECTORS[:7], repeated, axis=0), SIZES)


def test_vectors_that_are_all_alike_are_decoded():
    alike = np.full((50, 4), 2.5, np.float32)
    tokenizer = RQVAE.fit(alike, (1,), **FAST)
    assert np.allclose(tokenizer.decode(tokenizer.encode(alike)), 2.5)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.full((20, 4), np.nan, np.float32), "NaN"),
        (np.full((20, 4), np.inf, np.float32), "infinite"),
        (np.empty((0, 4), np.float32), "not empty"),
        (np.empty((4, 0), np.float32), "not empty"),
        (VECTORS[0], "N, D"),
    ],
)
def test_vectors_that_cannot_be_fitted_on_are_refused(vectors, said):
    with pytest.raises(BadInput, match=said) as caught:
        RQVAE.fit(vectors, SIZES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (VECTORS[:, :11], "12 numbers, got 11"),
        (np.full((1, 12), np.nan, np.float32), "NaN"),
        (np.empty((0, 12), np.float32), "not empty"),
    ],
)
def test_vectors_that_cannot_be_encoded_are_refused(vectors, said):
    with pytest.raises(BadInput, match=said):
        TOKENIZER.encode(vectors)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_fits_and_encodes_nearly_as_a_cpu_does():
    device = torch.device("cuda")
    fitted = RQVAE.fit(VECTORS, SIZES, seed=3, device=device, **FAST)
    codes = fitted.encode(VECTORS, device=device)
    assert (codes == fitted.encode(VECTORS)).all(1).mean() > 0.99
    assert r2(fitted, VECTORS, codes) == pytest.approx(r2(TOKENIZER, VECTORS, CODES), abs=0.02)
