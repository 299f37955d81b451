"""Fusion joins the modalities of an item into one unit vector, which does not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core import fingerprints
from fuseid.core.errors import ArtifactError, BadInput, FingerprintMismatch, NotReady
from fuseid.core.row_blocks import ArrayBlocks
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.fusion_fill import MIN_ROWS
from fuseid.encoders.fusion_moments import patterns, present

DIMS = {"clip_image": 24, "clip_text": 24, "vlm": 10}
WEIGHTS = {"clip_image": 1.0, "clip_text": 0.5, "vlm": 0.5, "external": 1.0}
ENCODERS = {"clip_image": "clip-1", "clip_text": "clip-1", "vlm": "vlm-1"}
ROWS = 700  # more than two blocks, the last one partly filled


def made(rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Vectors around a few centres; some rows lack a modality, row 5 lacks all of them."""
    generator = np.random.default_rng(seed)
    which = generator.integers(0, 8, rows)
    out = {}
    for modality, dim in DIMS.items():
        centres = generator.normal(size=(8, dim))
        out[modality] = (centres[which] + 0.3 * generator.normal(size=(rows, dim))).astype(np.float32)
        out[modality][generator.random(rows) < 0.2] = np.nan
        out[modality][5] = np.nan
    return out


def taken(vectors: dict[str, np.ndarray], rows) -> dict[str, np.ndarray]:
    return {modality: values[rows] for modality, values in vectors.items()}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=True)


VECTORS = made()
FUSION = Fusion.fit(VECTORS, WEIGHTS, 16, ENCODERS)
FUSED = FUSION.transform(VECTORS)


def test_a_loaded_fusion_is_identical_to_the_saved_one(tmp_path):
    FUSION.save(tmp_path / "fusion")
    loaded = Fusion.load(tmp_path / "fusion")
    assert loaded.id == FUSION.id
    assert loaded.id.startswith("fusion-")
    assert (loaded.dims, loaded.dim, loaded.encoders, loaded.meta) == (DIMS, 16, ENCODERS, FUSION.meta)
    assert same(loaded.transform(VECTORS), FUSED)


def test_a_second_fit_on_the_same_sample_is_the_same_artifact(tmp_path):
    again = Fusion.fit(made(), WEIGHTS, 16, ENCODERS)
    again.save(tmp_path / "again")
    FUSION.save(tmp_path / "first")
    assert again.id == FUSION.id
    for path in (tmp_path / "first").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_another_sample_weight_size_or_encoder_is_another_artifact(tmp_path):
    others = [
        Fusion.fit(made(seed=1), WEIGHTS, 16, ENCODERS),
        Fusion.fit(VECTORS, {**WEIGHTS, "vlm": 0.25}, 16, ENCODERS),
        Fusion.fit(VECTORS, WEIGHTS, 15, ENCODERS),
        Fusion.fit(VECTORS, WEIGHTS, 16, {**ENCODERS, "vlm": "vlm-2"}),
    ]
    for number, fusion in enumerate([FUSION, *others]):
        fusion.save(tmp_path / str(number))
    assert len({fusion.id for fusion in [FUSION, *others]}) == 1 + len(others)


def test_vectors_are_unit_float32_and_an_item_without_modalities_has_none():
    assert FUSED.dtype == np.float32
    assert FUSED.shape == (ROWS, 16)
    nothing = np.all([np.isnan(values[:, 0]) for values in VECTORS.values()], axis=0)
    assert nothing[5]
    assert np.isnan(FUSED[nothing]).all()
    assert np.allclose(np.linalg.norm(FUSED[~nothing], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("modality", DIMS)
def test_an_item_with_a_single_modality_has_a_finite_unit_vector(modality):
    whole = next(i for i in range(ROWS) if all(np.isfinite(VECTORS[m][i]).all() for m in DIMS))
    only = {m: np.full_like(v[[whole]], np.nan) for m, v in VECTORS.items()} | {modality: VECTORS[modality][[whole]]}
    fused = FUSION.transform(only)
    assert np.linalg.norm(fused) == pytest.approx(1)
    # A missing column is the same as one without values.
    assert same(FUSION.transform({modality: VECTORS[modality][[whole]]}), fused)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.permutations(range(40)), st.integers(1, 39))
def test_order_and_partition_do_not_change_the_fitted_bits(order, cut):
    assert same(FUSION.transform(taken(VECTORS, order)), FUSED[order])
    assert same(FUSION.transform(taken(VECTORS, order[:cut])), FUSED[order[:cut]])


@pytest.mark.parametrize("row", [0, 1, 255, 256, 511, 699])
def test_an_item_has_the_same_bits_alone_and_among_all(row):
    assert same(FUSION.transform(taken(VECTORS, [row])), FUSED[[row]])


def test_the_norm_of_an_input_vector_does_not_matter():
    # A power of two, so that scaling itself is exact.
    scaled = {modality: values * np.float32(4) for modality, values in VECTORS.items()}
    assert same(FUSION.transform(scaled), FUSED)


def test_components_are_orthonormal_and_have_the_sign_that_the_rule_gives():
    components = FUSION.tensors["components"].astype(np.float64)
    assert np.allclose(components.T @ components, np.eye(16), atol=1e-5)
    largest = components[np.abs(components).argmax(0), np.arange(16)]
    assert (largest > 0).all()


def test_size_is_no_larger_than_the_joined_vectors():
    fusion = Fusion.fit({"vlm": VECTORS["vlm"]}, WEIGHTS, 256, ENCODERS)
    assert fusion.dim == fusion.transform({"vlm": VECTORS["vlm"]}).shape[1] == DIMS["vlm"]


def test_a_modality_of_weight_zero_has_no_effect():
    fusion = Fusion.fit(VECTORS, {**WEIGHTS, "vlm": 0.0}, 16, ENCODERS)
    assert "vlm" not in fusion.dims
    shuffled = VECTORS | {"vlm": VECTORS["vlm"][::-1]}
    assert same(fusion.transform(shuffled), fusion.transform(VECTORS))


@pytest.mark.parametrize(
    ("weights", "kind"), [({}, BadInput), ({"clip_image": 0.0}, BadInput), ({"external": 1.0}, NotReady)]
)
def test_nothing_to_fuse_is_refused(weights, kind):
    with pytest.raises(kind, match="nothing to fuse"):
        Fusion.fit(VECTORS, weights, 16, ENCODERS)


def test_modalities_without_a_single_vector_are_refused():
    with pytest.raises(NotReady, match="nothing to fuse"):
        Fusion.fit({"vlm": np.full((9, 4), np.nan, np.float32)}, WEIGHTS, 16, ENCODERS)


def test_a_fit_on_one_item_is_finite():
    fusion = Fusion.fit(taken(VECTORS, [0]), WEIGHTS, 4, ENCODERS)
    assert np.isfinite(fusion.transform(taken(VECTORS, [1, 2]))).all()


def test_vectors_of_another_encoder_are_refused_and_both_are_named():
    with pytest.raises(FingerprintMismatch) as caught:
        FUSION.check_encoders({**ENCODERS, "vlm": "vlm-2"})
    assert "vlm-1" in str(caught.value)
    assert "vlm-2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vectors_of_the_same_encoders_or_of_fewer_are_accepted():
    FUSION.check_encoders(ENCODERS)
    FUSION.check_encoders({**ENCODERS, "vlm": None})
    FUSION.check_encoders({"external": None})


# --- absent modalities ---

FILLS = ("linear", "renormalise", "mean", "zero")


def related(rows: int, seed: int, noise: float = 0.2) -> dict[str, np.ndarray]:
    """Complete items whose modalities are three views of one hidden vector."""
    views = np.random.default_rng(99)
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=(rows, 6))
    return {
        m: (hidden @ views.normal(size=(6, dim)) + noise * generator.normal(size=(rows, dim)) + 1.0).astype(np.float32)
        for m, dim in DIMS.items()
    }


def without(vectors: dict[str, np.ndarray], *absent: str) -> dict[str, np.ndarray]:
    return {m: np.full_like(v, np.nan) if m in absent else v for m, v in vectors.items()}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


PENALTIES = 10.0 ** np.arange(-3.0, 4.5, 0.5)


def ridge(known: np.ndarray, wanted: np.ndarray, sizes: list[int], penalty: float) -> np.ndarray:
    """Least |wanted - known @ map|^2 + penalty * |map - prior|^2, from the rows; the prior is the best multiple of the
    identity for each part of `known` that is as wide as `wanted`."""
    width, ends = wanted.shape[1], np.cumsum(sizes)
    same = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True) if size == width]
    prior = np.zeros((known.shape[1], width))
    if same:
        scales = np.linalg.lstsq(np.stack([known[:, at].ravel() for at in same], axis=1), wanted.ravel())[0]
        for at, scale in zip(same, scales, strict=True):
            prior[at] = scale * np.eye(width)
    penalised = penalty * np.square(known).sum() / known.shape[1] * np.eye(known.shape[1])
    return prior + np.linalg.solve(known.T @ known + penalised, known.T @ (wanted - known @ prior))


def reference_map(
    centred: dict[str, np.ndarray], has: dict[str, np.ndarray], held: np.ndarray, pattern: tuple[str, ...], absent: str
) -> np.ndarray:
    sizes = [centred[m].shape[1] for m in pattern]
    rows = np.all([has[m] for m in (*pattern, absent)], axis=0)
    nothing = np.zeros((sum(sizes), centred[absent].shape[1]))
    if rows.sum() < MIN_ROWS or not rows[held].any():
        return nothing
    known, wanted = np.concatenate([centred[m] for m in pattern], axis=1), centred[absent]
    learn, test = rows & ~held, rows & held
    errors = [
        np.square(wanted[test] - known[test] @ ridge(known[learn], wanted[learn], sizes, penalty)).sum()
        for penalty in PENALTIES
    ]
    if min(errors) >= np.square(wanted[test]).sum():
        return nothing
    return ridge(known[rows], wanted[rows], sizes, PENALTIES[int(np.argmin(errors))])


def reference_weights(sample: dict[str, np.ndarray]) -> dict[str, float]:
    values = {m: unit(v[present(v)].astype(np.float64)) for m, v in sample.items()}
    largest = {m: np.linalg.norm(v - v.mean(0), 2) / np.sqrt(len(v)) for m, v in values.items()}
    return {m: min(largest.values()) / value for m, value in largest.items()}


def reference(
    sample: dict[str, np.ndarray], weights: dict[str, float] | None, dim: int, fill: str
) -> tuple[np.ndarray, float]:
    """The fused vectors of the sample and the share of the variance kept, by the definitions, with all rows in memory:
    centre and weigh, fill the joint vectors, take the principal components, project, normalise."""
    weights, names, rows = weights or reference_weights(sample), tuple(sample), len(next(iter(sample.values())))
    has = {m: present(v) for m, v in sample.items()}
    units = {m: unit(v.astype(np.float64)) for m, v in sample.items()}
    centred = {m: weights[m] * (v - np.nanmean(v, axis=0)) for m, v in units.items()}
    every = {p: np.all([has[m] == (m in p) for m in names], axis=0) for p in patterns(names)}
    held = np.zeros(rows, bool)
    for number, which in enumerate(which for which in every.values() if which.any()):
        held[np.flatnonzero(which)[3 - number % 4 :: 4]] = True
    joint = np.full((rows, sum(v.shape[1] for v in sample.values())), np.nan)
    for pattern, which in every.items():
        known = np.concatenate([centred[m][which] for m in pattern], axis=1)
        scale = np.sqrt(sum(weights[m] ** 2 for m in names) / sum(weights[m] ** 2 for m in pattern))
        parts = []
        for m, values in centred.items():
            if m in pattern:
                parts.append(values[which] * (scale if fill == "renormalise" else 1.0))
            elif fill == "linear":
                parts.append(known @ reference_map(centred, has, held, pattern, m))
            else:
                value = -weights[m] * np.nanmean(units[m], axis=0) * (fill == "zero")
                parts.append(np.tile(value, (which.sum(), 1)))
        joint[which] = np.concatenate(parts, axis=1)
    joint -= np.nanmean(joint, axis=0)
    there = ~np.isnan(joint[:, 0])
    _, values, axes = np.linalg.svd(joint[there], full_matrices=False)
    axes = axes[:dim].T
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    return unit(joint @ axes), np.square(values[:dim]).sum() / np.square(values).sum()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 1000),
    st.sampled_from([(tuple(DIMS)), ("clip_image", "clip_text"), ("clip_text", "vlm"), ("vlm",)]),
    st.sampled_from(FILLS),
    st.booleans(),
    st.integers(4, 8),
)
def test_a_fit_is_what_its_definition_says(seed, names, fill, given_weights, dim):
    """Against the same computed row by row, up to rounding."""
    sample = {m: v for m, v in made(400, seed).items() if m in names}
    weights = {m: WEIGHTS[m] for m in names} if given_weights else None
    fusion = Fusion.fit(sample, weights, dim, ENCODERS, fill=fill)
    expected, kept = reference(sample, weights, dim, fill)
    assert np.allclose(fusion.transform(sample), expected, atol=2e-5, equal_nan=True)
    assert fusion.meta["metrics"]["variance_kept"] == pytest.approx(kept, abs=1e-6)
    assert fusion.meta["weights"] == pytest.approx(weights or reference_weights(sample))


@pytest.mark.parametrize(
    "absent", [("clip_text",), ("clip_image",), ("vlm",), ("clip_image", "vlm"), ("clip_text", "vlm")]
)
def test_an_item_that_lacks_something_lands_nearest_to_where_it_would_with_the_linear_fill(absent):
    sample, others = related(600, seed=1), related(200, seed=2)
    cosine = {}
    for fill in FILLS:
        fusion = Fusion.fit(sample, WEIGHTS, 16, ENCODERS, fill=fill)
        cosine[fill] = float((fusion.transform(others) * fusion.transform(without(others, *absent))).sum(1).mean())
    assert cosine["linear"] > 0.95
    assert all(cosine["linear"] > cosine[fill] + 0.01 for fill in FILLS[1:])


def test_independent_modalities_are_filled_with_the_mean():
    generator = np.random.default_rng(5)
    sample = {m: generator.normal(size=(300, dim)).astype(np.float32) for m, dim in DIMS.items()}
    linear, mean = (Fusion.fit(sample, WEIGHTS, 16, ENCODERS, fill=fill) for fill in ("linear", "mean"))
    assert all(share < 0.01 for shares in linear.meta["metrics"]["fill_explains"].values() for share in shares.values())
    there = without(sample, "vlm")
    assert (linear.transform(there) * mean.transform(there)).sum(1).min() > 0.98


def test_with_too_few_complete_items_the_fill_is_the_mean():
    rows = MIN_ROWS - 1
    sample = related(200, seed=1)
    sample["clip_text"][rows:] = np.nan
    fusion = Fusion.fit(sample, WEIGHTS, 16, ENCODERS)
    explains = fusion.meta["metrics"]["fill_explains"]
    assert explains["clip_image+vlm"]["clip_text"] == explains["clip_image"]["clip_text"] == 0
    assert explains["clip_image"]["vlm"] > 0.8
    assert fusion.meta["metrics"]["complete"] == rows


def test_modalities_that_never_occur_together_are_fused():
    sample = {m: v.copy() for m, v in related(100, seed=1).items() if m != "vlm"}
    sample["clip_image"][50:] = np.nan
    sample["clip_text"][:50] = np.nan
    fused = Fusion.fit(sample, WEIGHTS, 8, ENCODERS).transform(sample)
    assert np.allclose(np.linalg.norm(fused, axis=1), 1, atol=1e-5)


def test_weights_from_the_data_give_every_modality_the_same_largest_singular_value():
    sample = related(500, seed=1)
    fusion = Fusion.fit(sample, None, 16, ENCODERS)
    largest = [
        fusion.meta["weights"][m] * np.linalg.svd(unit(v) - unit(v).mean(0), compute_uv=False)[0]
        for m, v in sample.items()
    ]
    assert np.allclose(largest, largest[0], rtol=1e-3)
    assert max(fusion.meta["weights"].values()) == 1.0


def test_an_artifact_of_another_version_is_refused_with_the_remedy(tmp_path, monkeypatch):
    FUSION.save(tmp_path / "fusion")
    monkeypatch.setitem(fingerprints.STEP_VERSIONS, "fusion", 99)
    with pytest.raises(ArtifactError, match="fit there"):
        Fusion.load(tmp_path / "fusion")


def test_an_identity_passes_the_vectors_of_one_modality_through_unchanged(tmp_path):
    vectors = np.random.default_rng(0).normal(2, 5, (20, 6)).astype(np.float32)
    vectors[3] = np.nan
    fusion = Fusion.identity("external", 6, "some-encoder")
    other = np.ones((20, 4), np.float32)
    for stored in ({"external": vectors}, {"external": vectors, "vlm": other}):
        assert np.array_equal(fusion.transform(stored), vectors, equal_nan=True)
    fusion.save(tmp_path / "artifact")
    loaded = Fusion.load(tmp_path / "artifact")
    assert (loaded.id, loaded.dims, loaded.dim) == (fusion.id, {"external": 6}, 6)
    assert np.array_equal(loaded.transform({"external": vectors}), vectors, equal_nan=True)
    others = [Fusion.identity(*given) for given in (("vlm", 6, None), ("external", 5, None), ("external", 6, None))]
    assert len({fusion.id, *(one.id for one in others)}) == 4
    with pytest.raises(FingerprintMismatch, match="some-encoder"):
        fusion.check_encoders({"external": "another"})


# --- up to six modalities ---

SIX = {"clip_image": 12, "clip_text": 12, "vlm": 5, "audio": 7, "likes": 3, "mood": 4}
OCCUR = [tuple(SIX), ("clip_image", "clip_text"), ("clip_text", "vlm", "audio"), ("audio", "likes"), ("mood",)]
SIX_WEIGHTS = {"clip_image": 1.0, "clip_text": 0.8, "vlm": 0.5, "audio": 0.9, "likes": 0.7, "mood": 0.3}


def with_patterns(rows: int, occurring: list[tuple[str, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Items whose vectors are views of one hidden vector; the patterns of what they have take turns."""
    generator = np.random.default_rng(seed)
    hidden = generator.normal(size=(rows, 6))
    views = np.random.default_rng(99)
    out = {}
    for m, dim in SIX.items():
        noise = 0.2 * generator.normal(size=(rows, dim))
        out[m] = (hidden @ views.normal(size=(6, dim)) + noise).astype(np.float32)
        out[m][[m not in occurring[row % len(occurring)] for row in range(rows)]] = np.nan
    return out


@pytest.fixture(scope="module")
def six() -> Fusion:
    return Fusion.fit(with_patterns(600, OCCUR), SIX_WEIGHTS, 10, ENCODERS)


def learned(fusion: Fusion) -> set[tuple[str, ...]]:
    return {tuple(name.removeprefix("map.").split("+")) for name in fusion.tensors if name.startswith("map.")}


def test_of_many_modalities_only_the_patterns_that_occur_and_single_ones_are_learned(six, tmp_path):
    order = ("clip_image", "clip_text", "vlm", "audio", "likes", "mood")
    assert tuple(six.dims) == order
    assert learned(six) == {*OCCUR, *((m,) for m in SIX)}
    six.save(tmp_path / "six")
    vectors = with_patterns(50, OCCUR, seed=1)
    assert same(Fusion.load(tmp_path / "six").transform(vectors), six.transform(vectors))


@pytest.mark.parametrize("names", [("vlm", "audio"), ("clip_image", "vlm", "audio"), ("clip_text", "vlm", "external")])
def test_a_loaded_fusion_fuses_as_the_saved_one_whatever_the_alphabet_says(tmp_path, names):
    made = with_patterns(60, patterns([*SIX][:4]))
    vectors = {m: v for m, v in (made | {"external": made["audio"]}).items() if m in names}
    fusion = Fusion.fit(vectors, dict.fromkeys(names, 1.0), 8, ENCODERS)
    fusion.save(tmp_path / "fusion")
    loaded = Fusion.load(tmp_path / "fusion")
    assert ([*loaded.dims], loaded.id) == ([*fusion.dims], fusion.id)
    assert same(loaded.transform(vectors), fusion.transform(vectors))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_of_four_modalities_every_pattern_is_learned(count):
    some = [*SIX][:count]
    sample = {m: v for m, v in with_patterns(60, [tuple(SIX)]).items() if m in some}
    assert learned(Fusion.fit(sample, SIX_WEIGHTS, 8, ENCODERS)) == {*patterns(some)}


def test_every_pattern_of_six_modalities_has_a_unit_vector(six):
    vectors = with_patterns(63, patterns([*SIX]), seed=2)
    fused = six.transform(vectors)
    assert np.allclose(np.linalg.norm(fused, axis=1), 1, atol=1e-5)
    assert same(six.transform(taken(vectors, range(62, -1, -1))), fused[::-1])


@pytest.mark.parametrize(
    ("pattern", "used"),
    [
        (("clip_image", "clip_text", "audio"), ("clip_image", "clip_text")),
        (("clip_text", "vlm", "audio", "likes"), ("clip_text", "vlm", "audio")),
        (("vlm", "audio", "likes", "mood"), ("audio", "likes")),
        (("clip_image", "vlm"), ("clip_image",)),
        (("vlm", "mood"), ("vlm",)),
        (("clip_image", "audio", "likes"), ("audio", "likes")),
        (tuple(SIX)[:5], ("clip_text", "vlm", "audio")),
    ],
)
def test_an_unseen_pattern_is_fused_by_the_learned_part_that_weighs_most(six, pattern, used):
    weigh = {part: sum(SIX_WEIGHTS[m] ** 2 for m in part) for part in learned(six) if {*part} <= {*pattern}}
    assert max(weigh, key=weigh.__getitem__) == used
    vectors = with_patterns(20, [tuple(SIX)], seed=3)
    of_pattern = {m: v for m, v in vectors.items() if m in pattern}
    of_part = {m: v for m, v in vectors.items() if m in used}
    assert same(six.transform(of_pattern), six.transform(of_part))


def test_patterns_that_occur_are_filled_among_six_as_well_as_among_three(six):
    """Items that lack modalities lie near to where they would be with all of them."""
    complete = with_patterns(200, [tuple(SIX)], seed=4)
    whole = six.transform(complete)
    for pattern in OCCUR[1:3]:
        part = six.transform({m: v for m, v in complete.items() if m in pattern})
        assert float((whole * part).sum(1).mean()) > 0.8


# --- the same fit wherever the rows are and whatever works on them ---


def wide(rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    hidden = generator.normal(size=(rows, 20))
    out = {}
    for m, dim in (("clip_image", 96), ("clip_text", 96), ("vlm", 150)):
        out[m] = (hidden @ generator.normal(size=(20, dim)) + generator.normal(size=(rows, dim))).astype(np.float32)
        out[m][generator.random(rows) < 0.3] = np.nan
    return out


@pytest.mark.parametrize("threads", [1, 3])
def test_the_bits_of_a_fit_do_not_depend_on_the_number_of_threads(threads):
    sample = wide(9000)  # three blocks
    before = torch.get_num_threads()
    fusions = []
    for count in (2, threads):
        torch.set_num_threads(count)
        fusions.append(Fusion.fit(sample, None, 64, ENCODERS))
    torch.set_num_threads(before)
    assert fusions[0].meta == fusions[1].meta
    assert fusions[0].id == fusions[1].id


def test_blocks_of_joined_rows_give_the_same_fusion_as_the_arrays():
    order = ("clip_image", "clip_text", "vlm")
    joined = np.concatenate([VECTORS[m] for m in order], axis=1)
    dims = {m: DIMS[m] for m in reversed(order)}
    assert Fusion.fit(ArrayBlocks(joined), WEIGHTS, 16, ENCODERS, dims=dims).id == FUSION.id
    with pytest.raises(TypeError, match="dims"):
        Fusion.fit(ArrayBlocks(joined), WEIGHTS, 16, ENCODERS)
