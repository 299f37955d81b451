"""Windows hold every example once, with its history before it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.pipelines.evaluation import histories
from fuseid.pipelines.evaluation.windows import Windows


def examples_of(walks: list[list[int]], history: int, kept: list[bool]) -> histories.TestHistories:
    """Every item but the first of each user's walk as a target, if it is kept."""
    rows = []
    for user, walk in enumerate(walks):
        for end in range(1, len(walk)):
            newest = walk[max(0, end - history) : end]
            rows.append(([*newest, *[-1] * (history - len(newest))], walk[end], f"u{user}"))
    rows = [row for row, keep in zip(rows, kept, strict=False) if keep] or rows
    columns = list(zip(*rows, strict=True))
    return histories.TestHistories(
        np.array(columns[0], np.int32), np.array(columns[1], np.int32), np.array(columns[2], object)
    )


@settings(max_examples=20)
@given(
    walks=st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=9), min_size=1, max_size=4),
    history=st.integers(1, 4),
    kept=st.lists(st.booleans(), min_size=8, max_size=32),
)
def test_each_example_is_a_target_once_behind_its_history(walks, history, kept):
    examples = examples_of(walks, history, kept)
    windows = Windows.of(examples)
    found = []
    for items, targets in zip(windows.items_WH.tolist(), windows.targets_WH, strict=True):
        places = np.flatnonzero(targets)
        assert len(places) <= history
        found += [(items[:place], items[place]) for place in places]
    assert len(found) == len(examples)
    for (before, target), newest, wanted in zip(found, examples.history_EH.tolist(), examples.target_E, strict=True):
        newest = [item for item in newest if item >= 0]
        assert target == wanted
        assert before[-len(newest) :] == newest


def test_one_user_becomes_one_window_as_long_as_it_fits():
    windows = Windows.of(examples_of([[1, 2, 3, 4], [5, 6]], 3, [True] * 9))
    assert windows.items_WH.tolist() == [[1, 2, 3, 4, -1, -1], [5, 6, -1, -1, -1, -1]]
    assert windows.targets_WH.sum(1).tolist() == [3, 1]
    assert windows.rows(np.array([1])).items_WH.tolist() == [[5, 6]]


def test_users_without_a_gap_are_kept_apart():
    """The next user's history begins with the target before it."""
    windows = Windows.of(examples_of([[1, 2], [2, 3]], 2, [True] * 9))
    assert len(windows) == 2
