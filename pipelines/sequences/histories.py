"""The events of some users in order, each event once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Histories:
    """user_ids: U texts in the order of their bytes. The E events are ordered by user, and those of a user by (time,
    order in the files): user_E, item_E and time_E (microseconds); starts_E and ends_E: where the events of their user
    begin and end; rows_E: their rows in the table they were made from. duplicates: how many of its rows were left out
    as copies."""

    user_ids: pa.Array
    user_E: np.ndarray
    item_E: np.ndarray
    time_E: np.ndarray
    rows_E: np.ndarray
    starts_E: np.ndarray
    ends_E: np.ndarray
    duplicates: int

    @classmethod
    def of(cls, events: pa.Table) -> Histories:
        """events: user_id, item, time (both integers), and kept columns; rows that differ in these are not copies."""
        users, user_ids = _ranked(events["user_id"].combine_chunks())
        items, times = events["item"].to_numpy(), events["time"].to_numpy()
        # Stable: equal times stay in the order of the files.
        rows_E = np.lexsort((times, users))
        copies = _copies(rows_E, users, times, items, events)
        rows_E = rows_E[~copies]
        user_E = users[rows_E]
        ends_U = np.cumsum(np.bincount(user_E, minlength=len(user_ids)))
        starts_U = ends_U - np.bincount(user_E, minlength=len(user_ids))
        return cls(
            user_ids, user_E, items[rows_E], times[rows_E], rows_E, starts_U[user_E], ends_U[user_E], int(copies.sum())
        )


def _ranked(user_ids: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """int32 [N]: the position of each row's user among the distinct users; and the distinct users, sorted."""
    encoded = user_ids.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def _copies(
    rows_E: np.ndarray, users: np.ndarray, times: np.ndarray, items: np.ndarray, events: pa.Table
) -> np.ndarray:
    """bool [E]: whether an event equals an earlier one in every column.

    Only events of one user at one time can be equal, and there are few of these.
    """
    user_E, time_E = users[rows_E], times[rows_E]
    tied = np.zeros(len(rows_E), bool)
    tied[1:] = (user_E[1:] == user_E[:-1]) & (time_E[1:] == time_E[:-1])
    tied[:-1] |= tied[1:]
    places = np.flatnonzero(tied)
    out = np.zeros(len(rows_E), bool)
    if not len(places):
        return out
    keys = [time_E[places], user_E[places], items[rows_E[places]]]
    kept = [name for name in events.column_names if name not in ("user_id", "item", "time")]
    if kept:
        texts = map(repr, events.select(kept).take(pa.array(rows_E[places])).to_pylist())
        keys.append(pa.array(texts, pa.large_string()).dictionary_encode().indices.to_numpy())
    order = np.lexsort((places, *keys))
    same = np.ones(len(order) - 1, bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    out[places[order[1:][same]]] = True
    return out
