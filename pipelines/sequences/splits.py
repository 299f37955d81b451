"""Which events are targets, and of which split; an event of a later split must not be in an earlier one's history."""

from __future__ import annotations

import numpy as np

from fuseid.pipelines.sequences.histories import Histories
from fuseid.pipelines.sequences.options import EVENTS, Options

TRAIN, VALID, TEST = 0, 1, 2


def split_of(histories: Histories, options: Options) -> np.ndarray:
    """int8 [E]: the split of each event, if it is a target. It never decreases over the events of a user.

    `leave-one-out`: a user's last event is for testing, the one before it for validation, those before for training.
    `by-time`: events before the first cut are for training, those from the second cut on for testing. A target's
    history has only events before it, so an event of one split is in histories of the same or a later split, never of
    an earlier one.
    """
    if options.split == "leave-one-out":
        after = histories.ends_E - 1 - np.arange(len(histories.ends_E))
        return np.clip(TEST - after, TRAIN, TEST).astype(np.int8)
    return np.searchsorted(np.array(options.cuts, np.int64), histories.time_E, side="right").astype(np.int8)


def targets_of(histories: Histories, options: Options, train: str) -> list[np.ndarray]:
    """For each split the events that are its targets, ascending. train: see `options.TRAIN`; for `options.EVENTS`, each
    event is in its split, also the first one of a user."""
    splits = split_of(histories, options)
    before = np.arange(len(splits)) - histories.starts_E
    fit = before >= (0 if train == EVENTS else options.min_history)
    if options.min_events > 1:
        fit &= _known_events(histories, splits, options) >= options.min_events
    if train in ("window", "last"):
        last = np.ones(len(splits), bool)
        last[:-1] = (histories.user_E[1:] != histories.user_E[:-1]) | (splits[1:] != splits[:-1])
        fit &= (splits != TRAIN) | last | ((before >= options.max_history) & (train == "window"))
    return [np.flatnonzero(fit & (splits == split)) for split in (TRAIN, VALID, TEST)]


def _known_events(histories: Histories, splits: np.ndarray, options: Options) -> np.ndarray:
    """int64 [E]: how many events the user of an event has; in a split by time, how many up to the end of the event's
    split, since later events must not decide which users are trained on."""
    if options.split == "leave-one-out":
        return histories.ends_E - histories.starts_E
    width = TEST + 1
    counts = np.bincount(histories.user_E * width + splits, minlength=len(histories.user_ids) * width)
    return np.cumsum(counts.reshape(-1, width), axis=1)[histories.user_E, splits]
