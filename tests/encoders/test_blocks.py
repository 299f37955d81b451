"""Blocks of a list, the last one filled, and rows of unit norm."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.encoders.blocks import blocks, filled, unit_rows


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


def test_unit_rows_keep_zero_rows_and_extreme_ones():
    rows = unit_rows(np.array([[0, 0], [3e-30, 4e-30], [3e18, 4e18]], np.float32))
    assert np.allclose(rows, [[0, 0], [0.6, 0.8], [0.6, 0.8]])
    assert rows.dtype == np.float32
