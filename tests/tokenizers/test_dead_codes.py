"""A dead code and the code with the largest error move apart, to either side of where the second was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fuseid.core.row_blocks import ArrayBlocks
from fuseid.tokenizers.block_codes import GivenCodes, GreedyCodes
from fuseid.tokenizers.dead_codes import restarted


def line(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


@pytest.mark.parametrize("copies", [1, 3000])  # in one part, and in several blocks
def test_a_dead_code_and_the_one_with_the_largest_error_share_its_members(copies):
    vectors = np.repeat(line(0, 10, -2, 1, 11), copies, axis=0)
    codes = GivenCodes((), torch.tensor([0, 1, 0, 0, 1]).repeat_interleave(copies)[:, None])
    book = torch.tensor([[0.0], [10.5], [99.0]])
    (moved,) = restarted(ArrayBlocks(vectors), codes, [book], {0: np.array([3, 2, 0]) * copies})
    assert torch.allclose(moved, torch.tensor([[0.6], [10.5], [-0.6]]))  # -2 is the farthest member of code 0
    assert book[2] == 99


def test_a_code_with_one_member_is_not_split():
    codes = GivenCodes((), torch.tensor([0, 0, 1])[:, None])
    book = torch.tensor([[0.0], [100.0], [7.0]])
    (moved,) = restarted(ArrayBlocks(line(0, 0, 5)), codes, [book], {0: np.array([2, 1, 0])})
    assert torch.equal(moved, book)


def test_each_of_several_dead_codes_has_a_code_of_its_own_to_split():
    codes = GivenCodes((), torch.tensor([0, 0, 1, 1])[:, None])
    book = torch.tensor([[0.0], [10.0], [99.0], [99.0], [99.0]])
    counts = {0: np.array([2, 2, 0, 0, 0])}
    (moved,) = restarted(ArrayBlocks(line(-1, 1, 8, 12)), codes, [book], counts)
    assert moved.flatten().tolist() == pytest.approx([0.3, 10.6, 9.4, -0.3, 99.0])


def test_of_the_levels_before_only_what_they_leave_counts():
    vectors = line(100, 101, 103, 200, 201, 203)
    codes = GreedyCodes().then(line_book(100, 200), torch.zeros(2)).then(line_book(1, 50), torch.zeros(2))
    first, second = restarted(ArrayBlocks(vectors), codes, codes.books, {1: np.array([6, 0])})
    assert torch.equal(first, codes.books[0])
    assert second.flatten().tolist() == pytest.approx([1 - 0.6, 1 + 0.6])


def line_book(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]
