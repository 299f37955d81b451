"""Pairs of items that are close to each other in histories: the counts behind `window` and `cooccurrence`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.pairing.histories import Found, Used
from fuseid.pipelines.pairing.keys import PARTIAL, keys_of, summed
from fuseid.pipelines.pairing.options import Options

# Rows of pairs that are in memory at a time, unless a single user has more.
_ROWS = 1 << 22
_MICROSECONDS_A_MINUTE = 60 * 10**6


@dataclass(frozen=True)
class CountPairs:
    """The pairs in the histories of some users: see `Options` for window, session and by_distance. Each user counts
    once for a pair, at its smallest distance, however often it is in the history.

    rank: see `Used.of`."""

    options: Options
    rank: np.ndarray

    def __call__(self, events: pa.Table) -> Found:
        used = Used.of(events, self.rank, self.options)
        return Found.of(used, used.uses(), counted(used, self.options))


def counted(used: Used, options: Options, rows: int = _ROWS) -> pa.Table:
    """`PARTIAL`: users, and their sum of 1 or 1 / distance. rows: see `_ROWS`; it does not change what the parts add up
    to."""
    assert options.window is not None
    most = max(1, rows // options.window)
    # Where users begin, and the end.
    borders = np.append(np.flatnonzero(np.diff(used.user_E, prepend=-1)), len(used.user_E))
    tables, first = [PARTIAL.empty_table()], 0
    while first < len(borders) - 1:
        upto = max(first + 1, int(np.searchsorted(borders, borders[first] + most, side="right")) - 1)
        some = slice(int(borders[first]), int(borders[upto]))
        tables.append(_counted(used.user_E[some], used.item_E[some], _sessions(used, some, options), options))
        first = upto
    return pa.concat_tables(tables)


def _sessions(used: Used, some: slice, options: Options) -> np.ndarray:
    """int64: a number of the session of each event; those of different users differ."""
    user, time = used.user_E[some], used.time_E[some]
    begins = np.append(True, user[1:] != user[:-1])
    if options.session is not None:
        begins[1:] |= np.diff(time) > options.session * _MICROSECONDS_A_MINUTE
    return np.cumsum(begins)


def _counted(user: np.ndarray, item: np.ndarray, session: np.ndarray, options: Options) -> pa.Table:
    assert options.window is not None
    keys, users, distances = [], [], []
    for distance in range(1, options.window + 1):
        one, other = item[:-distance], item[distance:]
        pair = (session[:-distance] == session[distance:]) & (one != other)
        if not pair.any():
            continue
        keys.append(keys_of(one[pair], other[pair]))
        users.append(user[:-distance][pair])
        distances.append(np.full(len(keys[-1]), distance, np.int32))
    if not keys:
        return PARTIAL.empty_table()
    key, of_user, at = map(np.concatenate, (keys, users, distances))
    once = _once(key, of_user, user, item)
    if not once.all():
        key, at = key[once], at[once]
    return summed(key, 1 / at if options.by_distance else None)


def _once(key: np.ndarray, of_user: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """bool [N]: whether a row is the first of its user and pair; rows are ordered by distance.

    Only users who used an item twice can have a pair twice, and there are few of these.
    """
    events = np.sort(user.astype(np.int64) << 32 | item)
    twice = np.unique(events[1:][events[1:] == events[:-1]] >> 32)
    places = np.flatnonzero(np.isin(of_user, twice))
    once = np.ones(len(key), bool)
    order = places[np.lexsort((places, key[places], of_user[places]))]
    once[order[1:]] = (key[order][1:] != key[order][:-1]) | (of_user[order][1:] != of_user[order][:-1])
    return once
