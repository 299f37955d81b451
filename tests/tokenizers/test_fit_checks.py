"""Vectors that no kind can be fitted on are refused, wherever among the blocks they are."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.row_blocks import ArrayBlocks
from fuseid.tokenizers.fit_checks import checked_mean

ROWS = 9000
VECTORS = np.random.default_rng(0).normal(5, 1, size=(ROWS, 3)).astype(np.float32)


def test_the_mean_is_that_of_all_rows():
    assert checked_mean(ArrayBlocks(VECTORS), 10) == pytest.approx(VECTORS.mean(0, dtype=np.float64), rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 4095, 4096, ROWS - 1])
def test_one_number_that_is_not_finite_is_found(row, bad):
    vectors = VECTORS.copy()
    vectors[row, 1] = bad
    with pytest.raises(BadInput, match="NaN or infinite numbers"):
        checked_mean(ArrayBlocks(vectors), 2)


def test_distinct_rows_are_counted_over_all_blocks():
    vectors = np.zeros((ROWS, 2), np.float32)
    vectors[[5, 4097, ROWS - 1]] = [[1, 1], [2, 2], [1, 1]]
    checked_mean(ArrayBlocks(vectors), 3)
    with pytest.raises(NotReady, match=r"3 distinct vectors cannot fill a codebook of 4 codes.*tokenizer.codebook"):
        checked_mean(ArrayBlocks(vectors), 4)
