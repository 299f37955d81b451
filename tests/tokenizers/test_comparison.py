"""The figures by which kinds are compared are those of the reports, on held-out vectors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fuseid.tokenizers.comparison import figures
from fuseid.tokenizers.rq_kmeans import RQKMeans

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(16, 8)).astype(np.float32)
VECTORS = (CENTRES[np.arange(900) % 16] + 0.2 * RNG.normal(size=(900, 8))).astype(np.float32)
FITTED, HELD_OUT = VECTORS[:800], VECTORS[800:]
TOKENIZER = RQKMeans.fit(FITTED, (16, 8))


def test_figures_of_held_out_vectors_agree_with_their_definitions():
    found = figures(TOKENIZER, FITTED, HELD_OUT)
    codes = TOKENIZER.encode(HELD_OUT)
    left = np.square(HELD_OUT - TOKENIZER.decode(codes)).sum()
    assert found.r2.value == pytest.approx(1 - left / np.square(HELD_OUT - HELD_OUT.mean(0)).sum(), abs=1e-4)
    shares = np.bincount(codes[:, 0], minlength=16) / 100
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum() / np.log(16)
    assert found.normalised_entropy[0].value == pytest.approx(entropy)
    assert len(found.normalised_entropy) == 2
    _, counts = np.unique(TOKENIZER.encode(VECTORS), axis=0, return_counts=True)
    assert found.collisions.value == pytest.approx(counts[counts > 1].sum() / 900)
    assert found.recall.value > 3 * found.recall.null
    json.dumps(found.document())


def test_equal_vectors_do_not_collide():
    twice = np.concatenate([FITTED, FITTED])
    assert figures(TOKENIZER, twice, HELD_OUT).collisions.value == pytest.approx(
        figures(TOKENIZER, FITTED, HELD_OUT).collisions.value
    )


def test_without_held_out_vectors_the_fitted_ones_are_measured():
    found = figures(TOKENIZER, FITTED, None)
    assert found.r2.value == pytest.approx(TOKENIZER.meta["metrics"]["r2_per_level"][-1], abs=0.01)
    # An item is not its own neighbour.
    assert found.recall.value < 1
