"""An ingest and a fit give the golden IDs: on one kind of CPU with the pinned versions, to the last code. Weights of
the fusion by name."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.assignment.champion import load_fusion

DATA = Path(__file__).parent.parent / "data"


def test_ids_equal_the_golden_ones(tmp_path: Path) -> None:
    generator = runpy.run_path(str(DATA / "make_golden_ids.py"))
    expected = json.loads((DATA / "golden_ids.json").read_text(encoding="utf-8"))
    assert generator["golden_run"](tmp_path) == expected
    assert len(set(expected.values())) == len(expected) == 16


def named(bare, **weights):
    """A database of vectors of two names, fitted with these weights; returns the weights of its fusion."""
    rng = np.random.default_rng(0)
    for name, dim in (("audio", 8), ("likes", 3)):
        rows = {f"v{i:02d}": row.tolist() for i, row in enumerate(rng.normal(size=(40, dim)))}
        bare.ingest_vectors(bare.parquet(rows), name=name)
    bare.fit(fusion=weights)
    return load_fusion(bare.store()).meta["weights"]


def test_by_default_every_name_of_vectors_weighs_one(bare):
    assert named(bare) == {"audio": 1.0, "likes": 1.0}


@pytest.mark.parametrize(
    ("weights", "used"),
    [
        pytest.param({"audio": 0.25, "likes": 1.0}, {"audio": 0.25, "likes": 1.0}, marks=pytest.mark.slow),
        pytest.param({"likes": 2.0}, {"likes": 2.0}, marks=pytest.mark.slow),
        ({"likes": 1.0, "audio": 0.0, "clip_image": 1.0, "external": 3.0}, {"likes": 1.0}),
    ],
)
def test_weights_by_name_are_used_and_names_without_one_are_left_out(bare, weights, used):
    assert named(bare, weights=weights) == used


def test_a_weight_for_vectors_that_the_database_lacks_is_refused_and_those_it_has_are_named(bare):
    with pytest.raises(
        BadInput, match=r"fusion\.weights: .* has no vectors 'audoi'; did you mean audio\? There are audio, likes$"
    ) as caught:
        named(bare, weights={"audoi": 1.0, "likes": 1.0})
    assert "\n" not in str(caught.value)
    assert bare.store().setting("fusion") is None


@pytest.mark.slow
def test_weights_from_the_data_are_computed_for_every_name(bare):
    assert named(bare, weights="auto").keys() == {"audio", "likes"}
