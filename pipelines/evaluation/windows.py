"""The examples of each user joined into windows, so that a causal model learns from all targets of a window at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from fuseid.pipelines.evaluation.histories import TestHistories


@dataclass(frozen=True)
class Windows:
    """items_WH: int32, item numbers, oldest first, -1 after the last. targets_WH: bool, which of them are targets."""

    items_WH: np.ndarray
    targets_WH: np.ndarray

    def __len__(self) -> int:
        return len(self.items_WH)

    def rows(self, rows: np.ndarray) -> Windows:
        """These windows, without columns that are empty in all of them."""
        items_WH = self.items_WH[rows]
        width = int((items_WH >= 0).sum(1).max(initial=0))
        return Windows(items_WH[:, :width], self.targets_WH[rows, :width])

    @classmethod
    def of(cls, examples: TestHistories) -> Self:
        """Each target once. An example goes on the window before it if its history is that of the example before, with
        its target; a window has at most H targets, behind the H items or fewer of its first example's history."""
        history_EH, target_E = examples.history_EH, examples.target_E
        count, history = history_EH.shape
        lengths_E = (history_EH >= 0).sum(1)
        goes_on_E = np.zeros(count, bool)
        goes_on_E[1:] = (examples.user_E[1:] == examples.user_E[:-1]) & (
            history_EH[1:] == _with_targets(history_EH[:-1], lengths_E[:-1], target_E[:-1])
        ).all(1)
        chain_E = np.maximum.accumulate(np.where(goes_on_E, 0, np.arange(count)))
        place_E = (np.arange(count) - chain_E) % history
        first_W = np.flatnonzero(place_E == 0)
        window_E = np.cumsum(place_E == 0) - 1
        items_WH = np.full((len(first_W), 2 * history), -1, np.int32)
        items_WH[:, :history] = history_EH[first_W]
        targets_WH = np.zeros(items_WH.shape, bool)
        columns_E = lengths_E[first_W][window_E] + place_E
        items_WH[window_E, columns_E] = target_E
        targets_WH[window_E, columns_E] = True
        return cls(items_WH, targets_WH)


def _with_targets(history_EH: np.ndarray, lengths_E: np.ndarray, target_E: np.ndarray) -> np.ndarray:
    """The newest H items of the histories and the targets behind them."""
    count, history = history_EH.shape
    longer = np.column_stack([history_EH, np.full(count, -1, history_EH.dtype)])
    longer[np.arange(count), lengths_E] = target_E
    return np.where((lengths_E == history)[:, None], longer[:, 1:], longer[:, :-1])
