"""The maps to absent modalities: ridge regressions, whose errors on held-out rows are computed from moments alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fuseid.encoders.fusion_fill import _PENALTIES, _errors, _Relation, learn_fill
from fuseid.encoders.fusion_moments import Moments, SampleMoments

SIZES = (6, 4, 9)


def relation(known: np.ndarray, wanted: np.ndarray) -> _Relation:
    z = torch.from_numpy(np.concatenate([known, wanted], axis=1))
    return _Relation.of(Moments(len(z), z.sum(0), z.T @ z), SIZES)


@pytest.mark.parametrize(("rows", "noise"), [(300, 0.5), (300, 0.0), (12, 0.5), (4, 0.1)])
def test_the_errors_of_all_penalties_are_those_of_their_maps_on_the_held_out_rows(rows, noise):
    generator = np.random.default_rng(rows)
    known = generator.normal(size=(rows, sum(SIZES))) @ generator.normal(size=(sum(SIZES), sum(SIZES)))
    wanted = known @ generator.normal(size=(sum(SIZES), 6)) + noise * generator.normal(size=(rows, 6))
    cut = rows * 3 // 4
    learning, held_out = relation(known[:cut], wanted[:cut]), relation(known[cut:], wanted[cut:])
    expected = [np.square(wanted[cut:] - known[cut:] @ learning.map(p).numpy()).sum() for p in _PENALTIES]
    assert np.allclose(_errors(learning, held_out), expected, rtol=1e-6, atol=1e-9 * held_out.spread)


def moments(views: dict[str, np.ndarray]) -> SampleMoments:
    z = torch.from_numpy(np.concatenate(list(views.values()), axis=1))
    parts = [
        Moments(len(part), part.sum(0), part.T @ part) for part in z.split([len(z) * 3 // 4, len(z) - len(z) * 3 // 4])
    ]
    dims = {m: values.shape[1] for m, values in views.items()}
    counts, means = dict.fromkeys(views, len(z)), {m: np.zeros(dim, np.float32) for m, dim in dims.items()}
    return SampleMoments(dims, counts, means, {tuple(views): (parts[0], parts[1])})


def test_the_same_vectors_in_two_modalities_are_copied():
    values = np.random.default_rng(0).normal(size=(200, 8))
    maps, explained = learn_fill(moments({"clip_image": values, "clip_text": 2 * values}), ("clip_image",))
    assert np.allclose(maps["clip_text"], 2 * np.eye(8), atol=1e-6)
    assert explained["clip_text"] == pytest.approx(1)


@pytest.mark.parametrize("constant", ["clip_image", "clip_text"])
def test_what_does_not_vary_is_neither_learned_from_nor_predicted(constant):
    views = {m: np.random.default_rng(1).normal(size=(200, 8)) for m in ("clip_image", "clip_text")}
    views[constant] = np.zeros((200, 8))
    maps, explained = learn_fill(moments(views), ("clip_image",))
    assert not maps["clip_text"].any()
    assert explained["clip_text"] == 0
