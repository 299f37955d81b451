"""A learned fusion finds what pairs know and content hides, and is the linear fusion where they know nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fuseid.core.errors import BadInput, FitFailed
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.learned_fusion import LearnedFusion

DIMS = {"clip_image": 24, "external": 16}
ENCODERS = {"clip_image": "clip-1", "external": None}
QUICK = {"hidden": 32, "batch_size": 64, "negatives": 32, "epochs": 3, "patience": 3, "keep_content": 0.1}


@dataclass(frozen=True)
class Catalogue:
    """vectors: some lack a modality. taste: int [N], which items are used together. pairs: int [P, 2], of the items
    before `cold`; those after it have none."""

    vectors: dict[str, np.ndarray]
    taste: np.ndarray
    pairs: np.ndarray
    cold: int

    def permuted(self) -> np.ndarray:
        """The pairs with another item's partners: as many for each item, and they mean nothing."""
        other = np.random.default_rng(9).permutation(self.pairs[:, 1])
        found = np.stack([self.pairs[:, 0], other], axis=1)
        return found[found[:, 0] != found[:, 1]]


def planted(items: int = 600, tastes: int = 8, per_item: int = 8, seed: int = 0) -> Catalogue:
    """Items whose looks vary strongly in directions that nobody cares for, and weakly in those of their taste."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, tastes, items)
    centres, looks = rng.normal(size=(tastes, 3)), rng.normal(size=(items, 6))
    vectors = {}
    for modality, dim in DIMS.items():
        of_taste, of_looks = rng.normal(size=(3, dim)), rng.normal(size=(6, dim))
        made = 0.4 * centres[taste] @ of_taste + looks @ of_looks + 0.1 * rng.normal(size=(items, dim))
        vectors[modality] = made.astype(np.float32)
    lacking = rng.random(items)
    vectors["clip_image"][lacking < 0.1] = np.nan
    vectors["external"][lacking > 0.9] = np.nan
    cold = items * 4 // 5
    members = [np.flatnonzero(taste[:cold] == each) for each in range(tastes)]
    anchors = np.repeat(np.arange(cold), per_item)
    partners = np.array([rng.choice(members[taste[each]]) for each in anchors])
    pairs = np.stack([anchors, partners], axis=1)[anchors != partners]
    return Catalogue(vectors, taste, pairs, cold)


def same_taste(fused: np.ndarray, taste: np.ndarray, of: slice) -> float:
    """The share of the 10 nearest items that have the taste of an item."""
    cosines = fused @ fused.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines[of], axis=1)[:, :10]
    return float((taste[nearest] == taste[of][:, None]).mean())


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def lacking(vectors: dict[str, np.ndarray], modality: str) -> dict[str, np.ndarray]:
    return {**vectors, modality: np.full_like(vectors[modality], np.nan)}


CATALOGUE = planted()
LINEAR = Fusion.fit(CATALOGUE.vectors, None, 16, ENCODERS)


@pytest.fixture(scope="module")
def learned() -> LearnedFusion:
    return LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **QUICK | {"epochs": 15, "hidden": 64})


@pytest.fixture(scope="module")
def quick() -> LearnedFusion:
    return LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **QUICK)


@pytest.mark.parametrize("of", [slice(0, CATALOGUE.cold), slice(CATALOGUE.cold, None)], ids=["with pairs", "without"])
def test_it_finds_the_tastes_that_content_hides(learned, of):
    before = same_taste(LINEAR.transform(CATALOGUE.vectors), CATALOGUE.taste, of)
    after = same_taste(learned.transform(CATALOGUE.vectors), CATALOGUE.taste, of)
    assert before < 0.4
    assert after > before + 0.3


def test_permuted_pairs_teach_nothing():
    permuted = LearnedFusion.fit(
        LINEAR, CATALOGUE.vectors, CATALOGUE.permuted(), **QUICK | {"epochs": 15, "hidden": 64}
    )
    before, after = (
        same_taste(fusion.transform(CATALOGUE.vectors), CATALOGUE.taste, slice(None)) for fusion in (LINEAR, permuted)
    )
    assert after < before + 0.05


def test_the_history_begins_with_the_linear_fusion_and_ends_better(learned):
    history = learned.meta["metrics"]["history"]
    best = learned.meta["metrics"]["best_epoch"]
    assert [each["epoch"] for each in history] == list(range(len(history)))
    assert history[0]["content_kept"] == 1.0
    assert history[best]["hit@10"] == max(each["hit@10"] for each in history) > 1.5 * history[0]["hit@10"]
    assert history[best]["content_kept"] < 1.0


@pytest.mark.parametrize("keep", ["vectors", "neighbours"])
def test_content_is_kept_as_its_weight_says(keep):
    kept = []
    for weight in (0.0, 1.0, 30.0):
        options = QUICK | {"keep_content": weight, "keep": keep}
        fusion = LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **options)
        kept.append(fusion.meta["metrics"]["history"][-1]["content_kept"])
    assert kept == sorted(kept)
    assert kept[2] > kept[0] + 0.1


def test_an_untrained_network_adds_nothing():
    fusion = LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **QUICK | {"learning_rate": 1e-30})
    linear = LINEAR.transform(CATALOGUE.vectors)
    assert np.allclose(fusion.transform(CATALOGUE.vectors), linear, atol=1e-6)


# --- the artifact ---


def test_a_loaded_fusion_is_identical_to_the_saved_one(quick, tmp_path):
    quick.save(tmp_path)
    loaded = LearnedFusion.load(tmp_path)
    assert (loaded.id, loaded.meta, loaded.dims, loaded.dim) == (quick.id, quick.meta, quick.dims, quick.dim)
    assert loaded.id.startswith("fusion-")
    assert same(loaded.transform(CATALOGUE.vectors), quick.transform(CATALOGUE.vectors))


def test_its_bits_depend_neither_on_threads_nor_on_the_order_of_pairs(quick):
    threads = torch.get_num_threads()
    shuffled = np.random.default_rng(1).permutation(CATALOGUE.pairs)[:, ::-1]
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            assert LearnedFusion.fit(LINEAR, CATALOGUE.vectors, shuffled, **QUICK).id == quick.id
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("other", [{"seed": 1}, {"hidden": 33}, {"temperature": 0.1}, {"source": {"method": "swing"}}])
def test_another_setting_or_source_is_another_artifact(quick, other):
    assert LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **QUICK | other).id != quick.id


def test_other_pairs_or_weights_are_another_artifact(quick):
    weights = np.ones(len(CATALOGUE.pairs))
    fit = LearnedFusion.fit
    assert fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, weights, **QUICK).id == quick.id
    weights[:100] = 5.0
    assert fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, weights, **QUICK).id != quick.id
    assert fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs[1:], **QUICK).id != quick.id


# --- vectors ---


def test_vectors_are_unit_float32_and_an_item_without_modalities_has_none(quick):
    vectors = {m: each.copy() for m, each in CATALOGUE.vectors.items()}
    for each in vectors.values():
        each[5] = np.nan
    fused = quick.transform(vectors)
    assert fused.dtype == np.float32
    assert fused.shape == (600, 16)
    assert np.isnan(fused[5]).all()
    assert np.allclose(np.linalg.norm(np.delete(fused, 5, axis=0), axis=1), 1, atol=1e-6)
    assert not len(quick.transform({m: each[:0] for m, each in vectors.items()}))


@pytest.mark.parametrize("row", [0, 255, 256, 599])
def test_an_item_has_the_same_bits_alone_and_among_all(quick, row):
    alone = quick.transform({m: each[[row]] for m, each in CATALOGUE.vectors.items()})
    assert same(alone, quick.transform(CATALOGUE.vectors)[[row]])


def test_the_order_of_items_does_not_change_their_bits(quick):
    order = np.random.default_rng(3).permutation(600)
    shuffled = quick.transform({m: each[order] for m, each in CATALOGUE.vectors.items()})
    assert same(shuffled, quick.transform(CATALOGUE.vectors)[order])


def test_an_absent_modality_has_no_effect_and_a_missing_column_is_the_same(learned):
    here = np.isfinite(CATALOGUE.vectors["clip_image"][:, 0])
    only = {"clip_image": CATALOGUE.vectors["clip_image"][here]}
    without = lacking({m: each[here] for m, each in CATALOGUE.vectors.items()}, "external")
    assert same(learned.transform(only), learned.transform(without))
    assert np.isfinite(learned.transform(only)).all()


def test_leaving_modalities_out_in_training_brings_items_that_lack_one_closer_to_where_they_belong():
    whole = np.all([np.isfinite(each[:, 0]) for each in CATALOGUE.vectors.values()], axis=0)
    complete = {m: each[whole] for m, each in CATALOGUE.vectors.items()}
    near = []
    for share in (0.0, 0.4):
        options = QUICK | {"epochs": 10, "patience": 10, "drop_modalities": share}
        fusion = LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **options)
        reduced = fusion.transform(lacking(complete, "external"))
        near.append(float((fusion.transform(complete) * reduced).sum(1).mean()))
    assert near[1] > near[0]


def test_one_modality_is_enough():
    only = {"external": planted().vectors["external"]}
    rows = np.isfinite(only["external"][:, 0])
    vectors = {"external": only["external"][rows]}
    number = np.cumsum(rows) - 1
    pairs = CATALOGUE.pairs[rows[CATALOGUE.pairs].all(1)]
    linear = Fusion.fit(vectors, None, 16, ENCODERS)
    fusion = LearnedFusion.fit(linear, vectors, number[pairs], **QUICK)
    history = fusion.meta["metrics"]["history"]
    assert max(each["hit@10"] for each in history) > history[0]["hit@10"]


# --- bad input ---


@pytest.mark.parametrize(
    ("pairs", "weights", "message"),
    [
        ([[1, 1]], None, "pair joins row 1 with itself"),
        ([[0, 600]], None, "rows 0 to 599"),
        ([[-1, 3]], None, "rows 0 to 599"),
        ([[0, 1]], [0.0], "above 0"),
        ([[0, 1]], [np.nan], "above 0"),
        (CATALOGUE.pairs[:64], None, r"63 pairs, of which 6 are held out, are fewer than a batch.*batch_size is 64"),
        (np.empty((0, 2), int), None, "0 pairs"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused(pairs, weights, message):
    with pytest.raises(BadInput, match=message) as caught:
        LearnedFusion.fit(LINEAR, CATALOGUE.vectors, np.array(pairs), weights, **QUICK)
    assert "\n" not in str(caught.value)


def test_an_item_without_a_modality_is_refused():
    vectors = {m: each.copy() for m, each in CATALOGUE.vectors.items()}
    for each in vectors.values():
        each[7] = np.nan
    with pytest.raises(BadInput, match="row 7 has no vector"):
        LearnedFusion.fit(LINEAR, vectors, CATALOGUE.pairs, **QUICK)


def test_a_fit_that_diverges_is_refused():
    with pytest.raises(FitFailed, match=r"diverged in epoch 1.*fusion\.learning_rate"):
        LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **QUICK | {"learning_rate": 1e30})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_the_same_up_to_rounding(quick):
    device = torch.device("cuda")
    fusion = LearnedFusion.fit(LINEAR, CATALOGUE.vectors, CATALOGUE.pairs, **QUICK, device=device)
    before, after = (each.meta["metrics"]["history"][-1] for each in (quick, fusion))
    assert after["hit@10"] == pytest.approx(before["hit@10"], abs=0.02)
    assert after["content_kept"] == pytest.approx(before["content_kept"], abs=0.02)
