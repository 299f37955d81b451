"""Which events are targets, and of which split: the choice that must not let the future into the past."""

from __future__ import annotations

import numpy as np

from fuseid.pipelines.sequences.histories import Histories
from fuseid.pipelines.sequences.options import Options

TRAIN, VALID, TEST = 0, 1, 2


def split_of(histories: Histories, options: Options) -> np.ndarray:
    """int8 [E]: the split that each event is a target of, if it is one. Within a user it never falls.

    `leave-one-out`: a user's last event tests, the one before it validates, those before train. `by-time`: events
    before the first cut train, those from the second on test. A target's history is of events before it alone, so an
    event of one split is in a history of the same or a later split, never of an earlier one.
    """
    if options.split == "leave-one-out":
        after = histories.ends_E - 1 - np.arange(len(histories.ends_E))
        return np.clip(TEST - after, TRAIN, TEST).astype(np.int8)
    return np.searchsorted(np.array(options.cuts, np.int64), histories.time_E, side="right").astype(np.int8)


def targets_of(histories: Histories, options: Options, train: str) -> list[np.ndarray]:
    """Per split the events that are its targets, ascending. train: see `options.TRAIN`."""
    splits = split_of(histories, options)
    before = np.arange(len(splits)) - histories.starts_E
    fit = before >= options.min_history
    if options.min_events > 1:
        fit &= _known_events(histories, splits, options) >= options.min_events
    if train != "prefix":
        last = np.ones(len(splits), bool)
        last[:-1] = (histories.user_E[1:] != histories.user_E[:-1]) | (splits[1:] != splits[:-1])
        fit &= (splits != TRAIN) | last | ((before >= options.max_history) & (train == "window"))
    return [np.flatnonzero(fit & (splits == split)) for split in (TRAIN, VALID, TEST)]


def _known_events(histories: Histories, splits: np.ndarray, options: Options) -> np.ndarray:
    """int64 [E]: how many events the user of an event has; by time, how many up to the end of the event's split, for
    what comes later must not decide who is trained on."""
    if options.split == "leave-one-out":
        return histories.ends_E - histories.starts_E
    width = TEST + 1
    counts = np.bincount(histories.user_E * width + splits, minlength=len(histories.user_ids) * width)
    return np.cumsum(counts.reshape(-1, width), axis=1)[histories.user_E, splits]
