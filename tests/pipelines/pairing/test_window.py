"""Close pairs: what is counted for a user, and that pieces of any size add up to the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.pairing.histories import Used
from fuseid.pipelines.pairing.keys import items_of
from fuseid.pipelines.pairing.options import Options
from fuseid.pipelines.pairing.window import counted
from fuseid.pipelines.sequences.shards import SHARD

MINUTE = 60 * 10**6


def used(rows: list[tuple[str, int, int]], options: Options) -> Used:
    """rows: (user, item, minute)."""
    users, items, minutes = zip(*rows, strict=True)
    table = pa.table([list(users), pa.array(items, pa.int32()), [each * MINUTE for each in minutes]], schema=SHARD)
    return Used.of(table, np.arange(100, dtype=np.int32), options)


def sums(table: pa.Table) -> dict[tuple[int, int], tuple[int, float]]:
    found: dict[tuple[int, int], tuple[int, float]] = {}
    low, high = items_of(table["key"].to_numpy())
    for pair, count, total in zip(
        zip(low.tolist(), high.tolist(), strict=True), table["count"].to_pylist(), table["sum"].to_pylist(), strict=True
    ):
        before = found.get(pair, (0, 0.0))
        found[pair] = before[0] + count, before[1] + total
    return found


def test_a_user_counts_once_for_a_pair_at_its_smallest_distance():
    history = [("u", item, minute) for minute, item in enumerate([1, 2, 3, 1, 2, 2])]
    options = Options("window", window=2, by_distance=True)
    assert sums(counted(used(history, options), options)) == {(1, 2): (1, 1.0), (1, 3): (1, 1.0), (2, 3): (1, 1.0)}
    options = Options("window", window=3, by_distance=True)
    history = [("u", item, minute) for minute, item in enumerate([1, 2, 3, 4])]
    assert sums(counted(used(history, options), options))[1, 4] == (1, pytest.approx(1 / 3))


def test_a_pair_is_within_a_session_and_of_one_user():
    rows = [("u", 1, 0), ("u", 2, 30), ("u", 3, 61), ("v", 4, 62)]
    options = Options("window", session=30.0)
    assert set(sums(counted(used(rows, options), options))) == {(1, 2)}
    options = Options("window", session=31.0)
    assert set(sums(counted(used(rows, options), options))) == {(1, 2), (1, 3), (2, 3)}


def test_newest_events_are_left_out_and_older_ones_than_a_history_are_not_used():
    rows = [("u", item, minute) for minute, item in enumerate([1, 2, 3, 4, 5])] + [("v", 7, 9), ("v", 8, 10)]
    options = Options("window", leave_out=2, max_history=2, window=2)
    found = used(rows, options)
    assert set(sums(counted(found, options))) == {(2, 3)}
    assert (found.left_out, len(found.item_E)) == (5, 2)


@pytest.mark.parametrize("by_distance", [False, True])
def test_pieces_of_any_size_add_up_to_the_same(by_distance):
    generator = np.random.default_rng(0)
    rows = [(f"u{user}", item, minute) for user, item, minute in generator.integers(0, [9, 8, 99], (300, 3)).tolist()]
    options = Options("cooccurrence", window=4, by_distance=by_distance)
    events = used(rows, options)
    whole = sums(counted(events, options))
    for size in (1, 100, 400):
        parts = counted(events, options, size)
        assert len(parts) > len(whole)
        assert sums(parts) == {pair: (count, pytest.approx(total)) for pair, (count, total) in whole.items()}
