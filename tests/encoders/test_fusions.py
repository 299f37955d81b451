"""A fusion is loaded as what it is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fuseid.core import fingerprints
from fuseid.core.errors import ArtifactError
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.fusions import Fusions
from fuseid.encoders.learned_fusion import LearnedFusion

VECTORS = {"external": np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)}
LINEAR = Fusion.fit(VECTORS, None, 4, {"external": None})
PAIRS = np.stack([np.arange(39), np.arange(1, 40)], axis=1)


def learned() -> LearnedFusion:
    return LearnedFusion.fit(LINEAR, VECTORS, PAIRS, hidden=4, batch_size=8, negatives=4, epochs=1)


@pytest.mark.parametrize("fusion", [LINEAR, learned()], ids=["linear", "learned"])
def test_a_fusion_is_loaded_as_its_kind(fusion, tmp_path):
    fusion.save(tmp_path)
    loaded = Fusions.load(tmp_path)
    assert type(loaded) is type(fusion)
    assert np.array_equal(loaded.transform(VECTORS), fusion.transform(VECTORS))


def test_a_fuseid_that_knows_only_linear_ones_refuses_a_learned_one(tmp_path):
    learned().save(tmp_path)
    document = json.loads((tmp_path / "artifact.json").read_text())
    assert document["meta"]["version"] != fingerprints.STEP_VERSIONS["fusion"]


def test_a_learned_fusion_of_another_version_is_refused(tmp_path, monkeypatch):
    learned().save(tmp_path)
    monkeypatch.setitem(fingerprints.STEP_VERSIONS, "learned fusion", 99)
    with pytest.raises(ArtifactError, match="learned 99"):
        Fusions.load(tmp_path)
