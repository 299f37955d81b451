"""The grid of FSQ: points and numbers in closed form, both ways."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.tokenizers.fsq_grid import Grid

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=5)


def test_codes_of_known_points():
    """8 x 8 x 4: the code of places (a, b, c) is 32 a + 4 b + c."""
    grid = Grid(256, [8, 8, 4])
    places = [[0, 0, 0], [0, 0, 3], [0, 1, 0], [1, 0, 0], [5, 2, 1], [7, 7, 3]]
    assert grid.codes(np.array(places)).tolist() == [0, 3, 4, 32, 169, 255]
    assert grid.places(np.array([0, 3, 4, 32, 169, 255])).tolist() == places


@settings(deadline=None, derandomize=True)
@given(LEVELS)
def test_mixed_radix_numbers_all_cells_in_order_and_back(levels):
    grid = Grid(int(np.prod(levels)), levels)
    every = np.array(list(itertools.product(*map(range, levels))))
    assert grid.codes(every).tolist() == list(range(grid.size))
    assert np.array_equal(grid.places(np.arange(grid.size)), every)


def test_large_grids_are_numbered_in_integers():
    """float32 cannot hold these codes."""
    grid = Grid(2**30, [2**10, 2**10, 2**10])
    codes = np.array([2**30 - 1, 2**24 + 1, 2**24 + 2])
    assert grid.codes(grid.places(codes)).tolist() == codes.tolist()
    assert grid.codes(grid.places(codes)).dtype == np.int32


@settings(deadline=None, derandomize=True)
@given(LEVELS)
def test_points_are_centred_one_apart_and_rounded_to_themselves(levels):
    grid = Grid(int(np.prod(levels)), levels)
    points = grid.points()
    assert points.dtype == torch.float32
    assert torch.allclose(points.mean(0), torch.zeros(len(levels)), atol=1e-5)
    for column, level in zip(points.T, levels, strict=True):
        assert column.unique().tolist() == [place - (level - 1) / 2 for place in range(level)]
    shifted = points + torch.linspace(-0.49, 0.49, grid.size)[:, None]
    assert grid.codes(grid.rounded(shifted).numpy()).tolist() == list(range(grid.size))


def test_scalars_of_any_size_stay_within_the_grid():
    grid = Grid(12, [3, 4])
    z = grid.bounded(torch.tensor([[-1e9, 1e9], [0.0, 0.0], [1e9, -1e9]]))
    assert grid.rounded(z).tolist() == [[0, 3], [1, 2], [2, 0]]


def test_normal_scalars_use_the_levels_about_equally():
    grid = Grid(8, [8])
    normal = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    shares = np.bincount(grid.rounded(grid.bounded(normal))[:, 0], minlength=8) / 20_000
    assert (np.abs(shares - 1 / 8) < 0.02).all()


def test_levels_that_do_not_fit_name_the_keys():
    with pytest.raises(BadInput, match=r"tokenizer.fsq_levels.* or .*tokenizer.codebook_sizes"):
        Grid(256, [8, 8])
