"""The events of some users as they are used: each once, in order, without those that are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.pairing.options import Options
from fuseid.pipelines.sequences.histories import Histories


@dataclass(frozen=True)
class Used:
    """E events of some users, ordered by user, time and order in the files. user_E, item_E: int32; user is a row of
    user_ids. time_E: microseconds. left_out, duplicates: how many events are not among them."""

    user_ids: pa.Array
    user_E: np.ndarray
    item_E: np.ndarray
    time_E: np.ndarray
    left_out: int
    duplicates: int

    @classmethod
    def of(cls, events: pa.Table, rank: np.ndarray, options: Options) -> Used:
        """events: of whole users; item is a number in the order of appearance. rank: of each number its final one."""
        histories = Histories.of(events)
        place, end = np.arange(len(histories.user_E)), histories.ends_E - options.leave_out
        used = (place < end) & (place >= end - options.max_history)
        return cls(
            histories.user_ids, histories.user_E[used], rank[histories.item_E[used]], histories.time_E[used],
            int(len(used) - used.sum()), histories.duplicates,
        )  # fmt: skip

    def uses(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct (user, item), ordered by both: int32 [D] twice."""
        keys = np.unique(self.user_E.astype(np.int64) << 32 | self.item_E)
        return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)


@dataclass(frozen=True)
class Found:
    """What the events of some users add up to. rows: what the method goes on with. item_D, users_D, events_D: the items
    that they used, how many of them used each, and in how many events. sizes_U: int32, the distinct items of each user.
    users, events, left_out, duplicates: counts."""

    rows: pa.Table
    item_D: np.ndarray
    users_D: np.ndarray
    events_D: np.ndarray
    sizes_U: np.ndarray
    users: int
    events: int
    left_out: int
    duplicates: int

    @classmethod
    def of(cls, used: Used, uses: tuple[np.ndarray, np.ndarray], rows: pa.Table) -> Found:
        """uses: what `Used.uses` returns."""
        item_D, events_D = np.unique(used.item_E, return_counts=True)
        users_D = np.unique(uses[1], return_counts=True)[1]
        sizes = np.bincount(uses[0], minlength=len(used.user_ids)).astype(np.int32)
        users = int(np.count_nonzero(sizes))
        return cls(rows, item_D, users_D, events_D, sizes, users, len(used.item_E), used.left_out, used.duplicates)
