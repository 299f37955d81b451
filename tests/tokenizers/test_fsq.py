"""FSQ alone: codes are the rounded scalars of the encoder, and decode through the decoder."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.artifacts import read_artifact
from fuseid.core.errors import ArtifactError, BadInput, FitFailed, NotReady
from fuseid.core.row_blocks import ArrayBlocks
from fuseid.tokenizers.fsq import FSQ
from tests.tokenizers.test_rq_kmeans import all_codes, cloud, error_of

DATA = Path(__file__).parents[1] / "data"
SIZES, LEVELS = (8, 6, 4), ((2, 2, 2), (3, 2), (4,))
OPTIONS = {"levels": LEVELS, "hidden": 32, "epochs": 6, "seed": 3, "fusion": "fusion-0123"}
VECTORS = cloud()
TOKENIZER = FSQ.fit(VECTORS, SIZES, **OPTIONS)
CODES = TOKENIZER.encode(VECTORS)


def test_codes_are_int32_with_a_column_per_level_and_all_are_used():
    assert (CODES.dtype, CODES.shape, TOKENIZER.codebook_sizes) == (np.int32, (len(VECTORS), 3), SIZES)
    assert [set(column) for column in CODES.T] == [set(range(size)) for size in SIZES]


def test_codes_and_decoded_vectors_by_their_definition(tmp_path):
    """In float64 from the saved arrays."""
    TOKENIZER.save(tmp_path / "it")
    saved = read_artifact(tmp_path / "it", "fsq")[2]
    layers = {name: array.astype(np.float64) for name, array in saved.items()}

    def through(name: str, rows: np.ndarray) -> np.ndarray:
        y, out = rows @ layers[f"{name}.inputs"].T + layers[f"{name}.bias"], layers[f"{name}.output"]
        linear, hidden = np.split(y, [len(out)], axis=1)
        return linear + hidden / (1 + np.exp(-hidden)) @ out.T

    levels = np.array([2, 2, 2, 3, 2, 4])
    places = np.tanh(0.8 * through("encoder", VECTORS)) * levels / 2 + levels / 2
    sure = (np.abs(places - np.round(places)) > 1e-4).all(1)
    a, b, c, d, e, f = np.floor(places).clip(0, levels - 1).astype(int).T
    assert np.array_equal(CODES[sure], np.stack([4 * a + 2 * b + c, 2 * d + e, f], axis=1)[sure])
    assert sure.mean() > 0.99
    points = np.stack([a, b, c, d, e, f], axis=1) - (levels - 1) / 2
    assert np.allclose(TOKENIZER.decode(CODES)[sure], through("decoder", points)[sure], atol=1e-4)
    points[:, 3:] = layers["mean"][3:]
    assert np.allclose(TOKENIZER.decode(CODES[:, :1])[sure], through("decoder", points)[sure], atol=1e-4)


def test_every_level_adds_to_what_the_codes_explain_and_the_recorded_r2_is_that_of_the_data():
    total = np.square(VECTORS - VECTORS.mean(0)).sum()
    found = TOKENIZER.meta["metrics"]["r2_per_level"]
    assert all(after > before + 0.02 for before, after in zip([0, *found], found, strict=False))
    for level, r2 in enumerate(found, 1):
        left = np.square(VECTORS - TOKENIZER.decode(CODES[:, :level])).sum()
        assert r2 == pytest.approx(1 - left / total, abs=1e-4)


def test_training_improves_on_the_linear_start():
    """Of vectors on a curve, which no linear quantizer follows."""
    angle = np.random.default_rng(1).uniform(0, 2, 2000)[:, None]
    curve = np.concatenate([np.cos(3 * angle), np.sin(3 * angle), np.cos(6 * angle), np.sin(6 * angle)], axis=1)
    short, long = (FSQ.fit(curve.astype(np.float32), (8,), levels=((8,),), epochs=epochs) for epochs in (1, 30))
    ends = [each.meta["metrics"]["r2_per_level"][-1] for each in (short, long)]
    assert ends[1] > ends[0] + 0.1


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(VECTORS) - 1), min_size=1, max_size=60))
def test_any_selection_in_any_order_gets_the_same_codes_and_vectors(rows):
    assert np.array_equal(TOKENIZER.encode(VECTORS[rows]), CODES[rows])
    assert np.array_equal(TOKENIZER.decode(CODES[rows]), TOKENIZER.decode(CODES)[rows])


@pytest.mark.parametrize("count", [1, 7, 192, 10_000])
def test_candidates_are_ordered_by_the_error_of_what_they_decode_to(count):
    rows = VECTORS[:50]
    codes, errors = TOKENIZER.candidates(rows, count)
    found = min(count, 192)
    assert (codes.dtype, codes.shape, errors.shape) == (np.int32, (50, found, 3), (50, found))
    assert all(len(np.unique(row, axis=0)) == found for row in codes)
    decoded = TOKENIZER.decode(codes.reshape(-1, 3)).reshape(50, found, 12)
    assert np.allclose(errors, np.square(rows[:, None] - decoded).sum(2), atol=1e-4)
    assert (np.diff(errors, axis=1) >= 0).all()
    assert (errors[:, 0] <= error_of(TOKENIZER, CODES[:50], rows) + 1e-4).all()
    if found == 192:
        assert sorted(map(tuple, codes[0].tolist())) == sorted(map(tuple, all_codes(SIZES).tolist()))


def test_a_loaded_tokenizer_gives_the_codes_of_the_saved_one(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    loaded = FSQ.load(tmp_path / "tokenizer")
    assert loaded.id == TOKENIZER.id
    assert loaded.id.startswith("fsq-")
    assert (loaded.codebook_sizes, loaded.dim, loaded.meta) == (SIZES, 12, TOKENIZER.meta)
    assert np.array_equal(loaded.encode(VECTORS), CODES)
    assert np.array_equal(loaded.decode(CODES), TOKENIZER.decode(CODES))
    tensors = tmp_path / "tokenizer" / "tensors.safetensors"
    blob = bytearray(tensors.read_bytes())
    blob[-2] ^= 4
    tensors.write_bytes(blob)
    with pytest.raises(ArtifactError, match="was altered"):
        FSQ.load(tmp_path / "tokenizer")


def test_a_second_fit_is_the_same_artifact_for_any_number_of_threads():
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert FSQ.fit(ArrayBlocks(VECTORS), SIZES, **OPTIONS).id == TOKENIZER.id
    finally:
        torch.set_num_threads(before)
    assert FSQ.fit(VECTORS, SIZES, **{**OPTIONS, "seed": 4}).id != TOKENIZER.id


def test_codes_equal_the_golden_ones():
    golden = json.loads((DATA / "fsq.json").read_text(encoding="utf-8"))
    make = runpy.run_path(str(DATA / "make_goldens.py"))
    vectors = make["two_level_clusters"]()
    assert FSQ.fit(vectors, (4, 4), **make["FSQ_ALONE"]).encode(vectors).tolist() == golden["fsq"]


def test_two_levels_each_by_default_and_more_dimensions_than_the_vectors_have():
    tokenizer = FSQ.fit(cloud(dim=3), (8, 4), epochs=2)
    assert tokenizer.meta["levels"] == [[2, 2, 2], [2, 2]]
    assert np.isfinite(tokenizer.decode(tokenizer.encode(VECTORS[:9, :3]))).all()


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
        FSQ.fit(vectors, SIZES, **OPTIONS)


@pytest.mark.parametrize("vectors", [VECTORS[:, :11], np.full((1, 12), np.nan, np.float32)])
def test_vectors_that_cannot_be_encoded_are_refused(vectors):
    with pytest.raises(BadInput):
        TOKENIZER.encode(vectors)
    with pytest.raises(BadInput):
        TOKENIZER.candidates(vectors, 2)


@pytest.mark.parametrize(
    ("sizes", "levels", "said"),
    [
        ((8, 8), ((8,), (4,)), "make 4 codes, but the codebook has 8; change tokenizer.levels or tokenizer.codebook_"),
        ((8, 8), ((8,),), "tokenizer.levels are of 1 codes, tokenizer.codebook_sizes of 2"),
        ((8, 6), None, "power of two, not 6"),
    ],
)
def test_levels_that_do_not_fit_are_refused(sizes, levels, said):
    with pytest.raises(BadInput, match=said):
        FSQ.fit(VECTORS, sizes, levels=levels)


def test_a_training_that_diverges_names_the_figure_and_the_key():
    with pytest.raises(FitFailed, match=r"diverged in epoch \d of 6: its loss is .*; tokenizer.learning_rate below 1e"):
        FSQ.fit(VECTORS, SIZES, **{**OPTIONS, "learning_rate": 1e30})


def test_a_level_that_collapses_is_refused():
    """All vectors but a few are equal, so no scalar can divide them."""
    rows = np.concatenate([np.zeros((3000, 12), np.float32), VECTORS[:20]])
    with pytest.raises(FitFailed, match=r"level 1 collapsed: the normalised entropy .*tokenizer.epochs"):
        FSQ.fit(rows, SIZES, **OPTIONS)


def test_progress_is_reported_epoch_by_epoch():
    steps = []
    FSQ.fit(VECTORS[:200], (4,), epochs=3, progress=lambda *step: steps.append(step))
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
