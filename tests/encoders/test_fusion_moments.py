"""Moments are sums over rows: the same whatever the blocks, and a quarter of every pattern is held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from fuseid.core.row_blocks import ArrayBlock
from fuseid.encoders import fusion_moments
from fuseid.encoders.fusion_moments import HELD_OUT, LEARNING, SampleMoments, columns_of, patterns, present

DIMS = {"clip_image": 7, "clip_text": 5, "vlm": 3}
NAMES = tuple(DIMS)


@dataclass
class SmallBlocks:
    """Blocks of any sizes."""

    parts: list[np.ndarray]

    def map(self, work: Any) -> Iterator[Any]:
        return (work(ArrayBlock(number, torch.from_numpy(part))) for number, part in enumerate(self.parts))


def joined(rows: int = 500, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    vectors = {m: (generator.normal(size=(rows, dim)) + 2).astype(np.float32) for m, dim in DIMS.items()}
    for values in vectors.values():
        values[generator.random(rows) < 0.3] = np.nan
    return np.concatenate(list(vectors.values()), axis=1)


def moments(rows: np.ndarray, cuts: list[int] | None = None, used: tuple[str, ...] = NAMES) -> SampleMoments:
    return SampleMoments.of(SmallBlocks(np.split(rows, cuts or [])), DIMS, used)


ROWS = joined()
HAS = {m: present(ROWS[:, columns_of((m,), NAMES, DIMS).numpy()]) for m in NAMES}


def exactly(pattern: tuple[str, ...]) -> np.ndarray:
    return np.flatnonzero(np.all([HAS[m] == (m in pattern) for m in NAMES], axis=0))


def centred(rows: np.ndarray, m: str, means: dict[str, np.ndarray]) -> np.ndarray:
    values = rows[:, columns_of((m,), NAMES, DIMS).numpy()].astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True) - means[m]


def test_counts_and_means_are_of_the_rows_that_have_a_modality():
    found = moments(ROWS, [100, 101, 300])
    for m in NAMES:
        assert found.counts[m] == HAS[m].sum()
        assert np.allclose(centred(ROWS[HAS[m]], m, found.means).mean(0), 0, atol=1e-7)


@pytest.mark.parametrize("pattern", patterns(NAMES))
def test_every_fourth_row_of_a_pattern_is_held_out_and_the_moments_are_sums_over_rows(pattern):
    found, which = moments(ROWS, [100, 101, 300]), exactly(pattern)
    assert len(which) > 8
    first = list(found.by_pattern).index(pattern)
    held = (np.arange(len(which)) + first) % 4 == 3
    for fold, rows in ((LEARNING, which[~held]), (HELD_OUT, which[held])):
        part = found.by_pattern[pattern][fold]
        z = np.concatenate([centred(ROWS[rows], m, found.means) for m in pattern], axis=1)
        assert part.rows == len(rows)
        assert np.allclose(part.sums, z.sum(0), atol=1e-5)
        assert np.allclose(part.products, z.T @ z, atol=1e-5)
        assert torch.equal(part.products, part.products.T)


def test_rows_with_at_least_some_modalities_are_those_of_every_pattern_that_has_them():
    found = moments(ROWS)
    for wanted in (("vlm", "clip_image"), ("clip_text",), NAMES):
        rows = np.flatnonzero(np.all([HAS[m] for m in wanted], axis=0))
        both = [found.having(wanted, fold) for fold in (LEARNING, HELD_OUT)]
        z = np.concatenate([centred(ROWS[rows], m, found.means) for m in wanted], axis=1)
        assert both[0].rows + both[1].rows == len(rows)
        assert np.allclose(both[0].products + both[1].products, z.T @ z, atol=1e-5)


def test_many_passes_give_the_same_bits_as_one(monkeypatch):
    one = moments(ROWS, [200])
    monkeypatch.setattr(fusion_moments, "_MOST_BYTES", 1500)
    assert len(fusion_moments._groups(list(one.by_pattern), DIMS)) > 3
    many = moments(ROWS, [200])
    assert list(one.by_pattern) == list(many.by_pattern)
    for pattern, parts in one.by_pattern.items():
        for a, b in zip(parts, many.by_pattern[pattern], strict=True):
            assert a.rows == b.rows
            assert torch.equal(a.products, b.products)
            assert torch.equal(a.sums, b.sums)


def test_other_blocks_hold_out_the_same_rows():
    one, other = moments(ROWS), moments(ROWS, [3, 5, 250, 251])
    for pattern, parts in one.by_pattern.items():
        assert [part.rows for part in parts] == [part.rows for part in other.by_pattern[pattern]]
        assert all(
            torch.allclose(a.products, b.products) for a, b in zip(parts, other.by_pattern[pattern], strict=True)
        )


def test_a_modality_that_is_not_used_or_that_no_row_has_is_left_out():
    without = ROWS.copy()
    without[:, columns_of(("clip_text",), NAMES, DIMS).numpy()] = np.nan
    for found in (moments(ROWS, used=("clip_image", "vlm")), moments(without)):
        assert found.dims == {"clip_image": 7, "vlm": 3}
        assert set(found.by_pattern) <= set(patterns(("clip_image", "vlm")))
    nothing = moments(np.full((20, 15), np.nan, np.float32))
    assert (nothing.dims, nothing.by_pattern) == ({}, {})


def test_weights_scale_the_vectors():
    weights = {"clip_image": 2.0, "clip_text": 0.5, "vlm": 3.0}
    plain, scaled = moments(ROWS), moments(ROWS)
    scaled.scale(weights)
    factors = torch.cat([torch.full((dim,), weights[m]) for m, dim in DIMS.items()]).double()
    assert torch.allclose(scaled.by_pattern[NAMES][0].sums, plain.by_pattern[NAMES][0].sums * factors)
    whole = plain.by_pattern[NAMES][0].products * torch.outer(factors, factors)
    assert torch.allclose(scaled.by_pattern[NAMES][0].products, whole)
