"""Blocks of rows: together they are all rows, in order, whatever works on them."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.core.errors import BadInput
from fuseid.core.row_blocks import CHUNK, ArrayBlocks, as_blocks, for_fit, rows_per_block, summed


@pytest.mark.parametrize(
    ("rows", "size"), [(1, 4096), (524_288, 4096), (524_289, 8192), (2_000_000, 16_384), (10**9, 262_144)]
)
def test_the_size_of_a_block_depends_on_the_number_of_rows(rows, size):
    assert rows_per_block(rows) == size


def test_blocks_are_all_rows_in_order():
    vectors = np.random.default_rng(0).normal(size=(10_000, 3)).astype(np.float32)
    blocks = ArrayBlocks(vectors)
    assert (blocks.rows, blocks.dim, blocks.count) == (10_000, 3, 3)
    chunks = list(blocks.map(lambda block: [chunk.numpy() for chunk in block.chunks()]))
    assert np.array_equal(np.concatenate([chunk for found in chunks for chunk in found]), vectors)
    assert np.array_equal(np.concatenate([blocks.read(number) for number in range(3)]), vectors)
    assert max(len(chunk) for found in chunks for chunk in found) <= CHUNK


def test_a_smaller_sample_is_the_beginning_of_a_larger_one():
    vectors = np.arange(1000, dtype=np.float32)[:, None]
    small, large, every = (ArrayBlocks(vectors).sample(rows) for rows in (10, 100, 5000))
    assert np.array_equal(small, large[:10])
    assert np.array_equal(np.sort(every, axis=0), vectors)
    assert not np.array_equal(ArrayBlocks(vectors, seed=1).sample(10), small)


def test_memo_is_kept_between_works():
    blocks = ArrayBlocks(np.zeros((5000, 2), np.float32))
    list(blocks.map(lambda block: block.memo.update(seen=block.number)))
    assert list(blocks.map(lambda block: block.memo["seen"])) == [0, 1]


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (2, 2, 2)])
def test_an_array_of_another_shape_is_refused(shape):
    with pytest.raises(BadInput, match="N, D"):
        as_blocks(np.zeros(shape, np.float32))


def test_only_a_kind_that_takes_blocks_gets_them():
    class FromOutside:
        pass

    class Ours:
        FITS_BLOCKS = True

    vectors = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    blocks = ArrayBlocks(vectors)
    assert for_fit(Ours, blocks) is blocks
    assert np.array_equal(for_fit(FromOutside, blocks), vectors)


def test_results_are_added_from_the_first_block_to_the_last():
    parts = [(np.float64(value), np.array([value])) for value in (1e16, 1.0, -1e16)]
    one, many = summed(iter(parts))
    assert (float(one), many.tolist()) == (0.0, [0.0])
    assert parts[0][1] == 1e16
