"""Principal components of joint vectors whose absent parts are filled in, against the joint vectors themselves."""

from __future__ import annotations

import numpy as np
import torch

from fuseid.encoders.fusion_components import Components, completed
from fuseid.encoders.fusion_fill import Filled
from fuseid.encoders.fusion_moments import Moments, SampleMoments

DIMS = {"clip_image": 5, "clip_text": 4, "vlm": 3}
GENERATOR = np.random.default_rng(0)
KNOWN = {
    ("clip_image", "clip_text", "vlm"): GENERATOR.normal(size=(40, 12)),
    ("clip_image", "vlm"): GENERATOR.normal(size=(30, 8)),
    ("clip_text",): GENERATOR.normal(size=(20, 4)) + 1,
}
MAPS = {
    ("clip_image", "vlm"): {"clip_text": torch.from_numpy(GENERATOR.normal(size=(8, 4)))},
    ("clip_text",): {"vlm": torch.from_numpy(GENERATOR.normal(size=(4, 3)))},
}
FIXED = torch.from_numpy(GENERATOR.normal(size=5))
FILLS = {
    ("clip_image", "clip_text", "vlm"): Filled(scale=1.5),
    ("clip_image", "vlm"): Filled(maps=MAPS[("clip_image", "vlm")]),
    ("clip_text",): Filled(scale=2.0, maps=MAPS[("clip_text",)], fixed={"clip_image": FIXED}),
}


def joint() -> np.ndarray:
    complete, pair, single = KNOWN.values()
    text = pair @ MAPS[("clip_image", "vlm")]["clip_text"].numpy()
    image, vlm = np.tile(FIXED.numpy(), (20, 1)), single @ MAPS[("clip_text",)]["vlm"].numpy()
    return np.concatenate(
        [
            1.5 * complete,
            np.concatenate([pair[:, :5], text, pair[:, 5:]], axis=1),
            np.concatenate([image, 2 * single, vlm], axis=1),
        ]
    )


def moments() -> SampleMoments:
    def of(rows: np.ndarray) -> Moments:
        return Moments(len(rows), torch.from_numpy(rows.sum(0)), torch.from_numpy(rows.T @ rows))

    means = {m: np.zeros(dim, np.float32) for m, dim in DIMS.items()}
    return SampleMoments(DIMS, dict.fromkeys(DIMS, 90), means, {p: (of(z[::2]), of(z[1::2])) for p, z in KNOWN.items()})


def test_the_moments_of_completed_vectors_are_those_of_the_joint_vectors():
    found, rows = completed(moments(), FILLS), joint()
    assert found.rows == len(rows)
    assert np.allclose(found.sums, rows.sum(0))
    assert np.allclose(found.products, rows.T @ rows)


def test_components_are_the_largest_principal_axes_and_a_pattern_maps_to_them():
    found, rows = Components.of(moments(), FILLS, 4), joint()
    centred = rows - rows.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs((found.axes.numpy() * axes[:4].T).sum(0)), 1)
    assert np.isclose(found.kept, np.square(values[:4]).sum() / np.square(values).sum())
    starts = np.cumsum([0, *(len(z) for z in KNOWN.values())])
    for (pattern, known), start in zip(KNOWN.items(), starts, strict=False):
        matrix, shift = found.affine(pattern, FILLS[pattern])
        assert np.allclose(
            known @ matrix.numpy() + shift.numpy(), centred[start : start + len(known)] @ found.axes.numpy()
        )
