"""Swing: two items are alike if pairs of users share them who share little else (Yang et al. 2020, "Large Scale Product
Graph Construction for Recommendation in E-commerce")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fuseid.pipelines.pairing.histories import Found, Used
from fuseid.pipelines.pairing.keys import PARTIAL, expanded, keys_of, pairs_within, summed
from fuseid.pipelines.pairing.options import Options
from fuseid.pipelines.store.hash_order import content_hashes

# A use: a user and an item of theirs. user: a number within the shard, or among all users.
USES = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("hash", pa.uint64())])
# The same, of the users that an item keeps; place: in the list of the users of all items.
KEPT = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("place", pa.int64())])
# Rows of users and what they share that are in memory at a time.
_ROWS = 1 << 22
# A row is one integer: the user in the block, the other user, and the place of the item in the user's list.
_PLACE_BITS, _USER_BITS = 14, 31
MOST_BLOCK_USERS = 1 << (64 - _PLACE_BITS - _USER_BITS)


@dataclass(frozen=True)
class Uses:
    """The distinct items of some users, with a hash of the user that decides which users an item keeps.

    rank: see `Used.of`."""

    options: Options
    rank: np.ndarray

    def __call__(self, events: pa.Table) -> Found:
        used = Used.of(events, self.rank, self.options)
        user, item = uses = used.uses()
        hashes = content_hashes(used.user_ids)
        return Found.of(used, uses, pa.Table.from_arrays([user, item, hashes[user]], schema=USES))


@dataclass(frozen=True)
class KeepUsers:
    """The `most` users of each item that have the lowest hashes, of equal hashes the lower numbers -> `USES`, ordered
    by item and user. The same users are kept by many items, so that what they share is kept, too."""

    most: int

    def __call__(self, uses: pa.Table) -> pa.Table:
        user, item, hashes = (uses[name].to_numpy() for name in USES.names)
        order = np.lexsort((user, hashes, item))
        starts = np.flatnonzero(np.diff(item[order], prepend=-1))
        lengths = np.diff(np.append(starts, len(order)))
        kept = order[expanded(lengths) < self.most]
        kept = kept[np.lexsort((user[kept], item[kept]))]
        return uses.take(pa.array(kept))


@dataclass(frozen=True)
class Graph:
    """Who uses what, K uses. user_K: int32, users in the order of their items; those of item i, ascending, are
    user_K[item_starts[i] : item_starts[i + 1]]. item_K: int32, items in the order of their users; those of user u,
    ascending, are item_K[user_starts[u] : user_starts[u + 1]], and place_K: int64, the places of these uses in user_K.
    sizes_U: int32, the distinct items of each user before items kept only some users."""

    user_K: np.ndarray
    item_starts: np.ndarray
    item_K: np.ndarray
    place_K: np.ndarray
    user_starts: np.ndarray
    sizes_U: np.ndarray


def blocks(graph: Graph, rows: int = _ROWS, step: int = 1 << 20) -> Iterator[tuple[int, int]]:
    """(first user, end) of pieces of work of about so many rows, unless a single user has more. step: users whose rows
    are counted at a time."""
    first, have, users = 0, 0, len(graph.user_starts) - 1
    for start in range(0, users, step):
        end = min(start + step, users)
        low, high = int(graph.user_starts[start]), int(graph.user_starts[end])
        after = graph.item_starts[graph.item_K[low:high].astype(np.int64) + 1] - graph.place_K[low:high] - 1
        sums = np.append(0, np.cumsum(after))[graph.user_starts[start : end + 1] - low]
        for user, count in enumerate(np.diff(sums).tolist(), start):
            if user > first and (have + count > rows or user - first == MOST_BLOCK_USERS):
                yield first, user
                first, have = user, 0
            have += count
    if first < users:
        yield first, users


@dataclass(frozen=True)
class Swing:
    """The score of every two items, in parts: for a block of users u and all users v > u, 1 / sqrt(|I_u| |I_v|) /
    (alpha + |I_u and I_v|) for every two items that both use -> `PARTIAL`, whose count is the number of such (u, v).

    What users share is counted among the uses of the graph. A score of the paper is twice this sum, over ordered pairs.
    """

    graph: Graph
    alpha: float

    def __call__(self, block: tuple[int, int], rows: int = _ROWS) -> pa.Table:
        """rows: see `_ROWS`; it does not change what the parts add up to."""
        graph, (first, end) = self.graph, block
        starts = graph.user_starts[first : end + 1]
        low, high = int(starts[0]), int(starts[-1])
        items, places = graph.item_K[low:high], graph.place_K[low:high]
        after = graph.item_starts[items.astype(np.int64) + 1] - places - 1
        others = graph.user_K[np.repeat(places + 1, after) + expanded(after)]
        lengths = np.diff(starts)
        mark = np.repeat(np.arange(len(lengths), dtype=np.uint64) << np.uint64(_PLACE_BITS + _USER_BITS), lengths)
        mark |= expanded(lengths).astype(np.uint64)
        shared = np.repeat(mark, after) | others.astype(np.uint64) << np.uint64(_PLACE_BITS)
        del others
        shared.sort()
        users = shared >> np.uint64(_PLACE_BITS)
        begins = np.flatnonzero(np.append(True, users[1:] != users[:-1])) if len(users) else np.empty(0, np.int64)
        counts = np.diff(np.append(begins, len(users)))
        begins, counts = begins[counts > 1], counts[counts > 1]
        if not len(begins):
            return PARTIAL.empty_table()
        both = users[begins]
        one, other = (both >> np.uint64(_USER_BITS)).astype(np.int64), (both & np.uint64((1 << _USER_BITS) - 1))
        sizes = graph.sizes_U[first + one].astype(float) * graph.sizes_U[other.astype(np.int64)]
        score = 1 / (np.sqrt(sizes) * (self.alpha + counts))
        item_of = items[
            (starts[:-1] - low)[(shared >> np.uint64(_PLACE_BITS + _USER_BITS)).astype(np.int64)]
            + (shared & np.uint64((1 << _PLACE_BITS) - 1)).astype(np.int64)
        ]
        tables, done = [], 0
        ends = np.cumsum(counts * (counts - 1) // 2)
        while done < len(begins):
            limit = (int(ends[done - 1]) if done else 0) + rows
            upto = max(done + 1, int(np.searchsorted(ends, limit, side="right")))
            one_at, other_at, group = pairs_within(begins[done:upto], begins[done:upto] + counts[done:upto])
            tables.append(summed(keys_of(item_of[one_at], item_of[other_at]), score[done:upto][group]))
            done = upto
        return pa.concat_tables(tables)


def users_of_pairs(count: np.ndarray) -> np.ndarray:
    """How many users make this many pairs of users."""
    return np.rint((1 + np.sqrt(1 + 8.0 * count)) / 2).astype(np.int64)
