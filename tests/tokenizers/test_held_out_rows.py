"""Rows that a fit holds out for itself: the same ones in any blocks, none of them among the fitted ones."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.core.row_blocks import ArrayBlocks
from fuseid.tokenizers.held_out_rows import FittedBlocks, held_out, held_out_share

VECTORS = np.random.default_rng(0).normal(size=(6000, 4)).astype(np.float32)


def test_each_row_is_either_held_out_or_fitted():
    blocks = FittedBlocks(ArrayBlocks(VECTORS), 0)
    fitted = np.concatenate([blocks.read(number) for number in range(blocks.count)])
    mask = held_out(VECTORS, held_out_share(6000), 0)
    assert np.array_equal(fitted, VECTORS[~mask])
    assert np.array_equal(blocks.held_out(), VECTORS[mask])
    assert mask.mean() == pytest.approx(0.05, abs=0.01)
    rows = list(blocks.map(lambda block: (block.rows, sum(map(len, block.chunks())))))
    assert all(said == found for said, found in rows)


def test_the_choice_depends_on_the_vector_and_the_seed_alone():
    order = np.random.default_rng(1).permutation(6000)
    assert np.array_equal(held_out(VECTORS[order], 0.05, 0), held_out(VECTORS, 0.05, 0)[order])
    assert not np.array_equal(held_out(VECTORS, 0.05, 1), held_out(VECTORS, 0.05, 0))


@pytest.mark.parametrize(("rows", "share"), [(1999, 0.0), (2000, 0.05), (400_000, 0.05), (4_000_000, 0.005)])
def test_so_many_are_held_out(rows, share):
    assert held_out_share(rows) == share
