"""Padding has no effect: a function over blocks gives each row the same result in any batch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.encoders.blocks import blocks, filled, in_blocks, unit_rows


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 9))
def test_every_row_comes_back_once_in_order_through_calls_of_one_size(count, size):
    seen = []

    def double(block):
        seen.append(len(block))
        return block * 2

    rows = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    assert np.array_equal(in_blocks(double, rows, size), rows * 2)
    assert set(seen) == {size}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 9))
def test_blocks_partition_a_list(items, size):
    parts = list(blocks(items, size))
    assert [item for part in parts for item in part] == items
    assert all(len(part) == size for part in parts[:-1])


def test_blocks_draw_no_further_than_they_are_asked():
    numbers = itertools.count()
    assert next(blocks(numbers, 3)) == [0, 1, 2]
    assert next(numbers) == 3


def test_a_block_is_filled_with_its_last_item():
    assert filled("ab", 4) == ["a", "b", "b", "b"]
    assert filled("ab", 2) == ["a", "b"]


def test_a_size_of_no_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        in_blocks(lambda block: block, np.empty((0, 3), np.float32), 4)


def test_unit_rows_keep_zero_rows_and_extreme_ones():
    rows = unit_rows(np.array([[0, 0], [3e-30, 4e-30], [3e18, 4e18]], np.float32))
    assert np.allclose(rows, [[0, 0], [0.6, 0.8], [0.6, 0.8]])
    assert rows.dtype == np.float32
