"""Examples: a history and the event that followed it, passed to formats in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.sequences.histories import Histories
from fuseid.pipelines.sequences.options import SPLITS

_CHUNK_EVENTS = 1 << 19


@dataclass(frozen=True)
class Examples:
    """E examples of one split. user_ids [E] and users_E, their numbers. History e is item_H[offsets_E[e] :
    offsets_E[e + 1]], oldest first, with time_H in microseconds. target_E: item numbers. kept: rows of the targets."""

    split: str
    user_ids: pa.Array
    users_E: np.ndarray
    offsets_E: np.ndarray
    item_H: np.ndarray
    time_H: np.ndarray
    target_E: np.ndarray
    target_time_E: np.ndarray
    kept: pa.Table

    def __len__(self) -> int:
        return len(self.target_E)


def examples_of(
    histories: Histories,
    targets: list[np.ndarray],
    max_history: int,
    kept: pa.Table,
    first_user: int,
    users_step: int,
    chunk_events: int = _CHUNK_EVENTS,
) -> Iterator[Examples]:
    """In the order of the splits, and in each by user and time. targets: for each split, events. kept: see
    `Histories.rows_E`.

    The number of user u is first_user + u * users_step. chunk_events: the most events of histories in a chunk, unless
    a single example has more.
    """
    for split, events in zip(SPLITS, targets, strict=True):
        starts = np.maximum(histories.starts_E[events], events - max_history)
        ends = np.cumsum(events - starts)
        done = 0
        while done < len(events):
            limit = (ends[done - 1] if done else 0) + chunk_events
            upto = max(done + 1, int(np.searchsorted(ends, limit, side="right")))
            yield _chunk(histories, split, events[done:upto], starts[done:upto], kept, first_user, users_step)
            done = upto


def _chunk(
    histories: Histories,
    split: str,
    events: np.ndarray,
    starts: np.ndarray,
    kept: pa.Table,
    first_user: int,
    users_step: int,
) -> Examples:
    lengths = events - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    # The event numbers of all histories, concatenated: each begins at its start and counts up.
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    users = histories.user_E[events]
    return Examples(
        split,
        histories.user_ids.take(pa.array(users)),
        first_user + users.astype(np.int64) * users_step,
        offsets,
        histories.item_E[places],
        histories.time_E[places],
        histories.item_E[events],
        histories.time_E[events],
        kept.take(pa.array(histories.rows_E[events])),
    )
