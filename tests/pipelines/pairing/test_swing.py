"""Swing: the score of a small graph by hand, which users an item keeps, and blocks of any size."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from fuseid.pipelines.pairing.keys import items_of
from fuseid.pipelines.pairing.swing import USES, Graph, KeepUsers, Swing, blocks, users_of_pairs


def graph_of(uses: np.ndarray) -> Graph:
    """bool [U, I]."""
    user, item = np.nonzero(uses)
    by_item = np.lexsort((user, item))
    place = np.empty(len(user), np.int64)
    place[by_item] = np.arange(len(user))
    return Graph(
        user[by_item].astype(np.int32), np.append(0, np.cumsum(uses.sum(0))), item.astype(np.int32), place,
        np.append(0, np.cumsum(uses.sum(1))), uses.sum(1).astype(np.int32),
    )  # fmt: skip


def scores(tables: list[pa.Table]) -> dict[tuple[int, int], tuple[int, float]]:
    found: dict[tuple[int, int], tuple[int, float]] = {}
    for table in tables:
        low, high = (side.tolist() for side in items_of(table["key"].to_numpy()))
        for one, other, count, total in zip(
            low, high, table["count"].to_pylist(), table["sum"].to_pylist(), strict=True
        ):
            before = found.get((one, other), (0, 0.0))
            found[one, other] = before[0] + count, before[1] + total
    return found


def test_the_score_of_three_users_by_hand():
    uses = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]], bool)
    found = scores([Swing(graph_of(uses), 1.0)((0, 3))])
    # Users 0 and 1 share items 0 and 1, users 1 and 2 items 0 and 2; users 0 and 2 share one item, which is no pair.
    assert found == {
        (0, 1): (1, pytest.approx(1 / math.sqrt(2 * 3) / (1 + 2))),
        (0, 2): (1, pytest.approx(1 / math.sqrt(3 * 3) / (1 + 2))),
    }


def test_blocks_of_any_size_add_up_to_the_same():
    graph = graph_of(np.random.default_rng(0).random((40, 15)) < 0.4)
    whole = scores([Swing(graph, 2.0)((0, 40))])
    assert len(whole) > 100
    for rows in (1, 30, 500):
        made = list(blocks(graph, rows, step=7))
        assert [first for first, _ in made] == [0, *(end for _, end in made[:-1])]
        assert made[-1][1] == 40
        assert len(made) == 40 or rows > 1
        found = scores([Swing(graph, 2.0)(block, rows) for block in made])
        assert found == {pair: (count, pytest.approx(total)) for pair, (count, total) in whole.items()}


def test_an_item_keeps_the_users_of_the_lowest_hashes():
    rows = [(0, 1, 9), (1, 1, 3), (2, 1, 3), (3, 1, 1), (0, 0, 9), (4, 0, 2)]
    uses = pa.table(
        [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), USES.types, strict=True)], schema=USES
    )
    kept = KeepUsers(2)(uses)
    assert list(zip(kept["item"].to_pylist(), kept["user"].to_pylist(), strict=True)) == [
        (0, 0),
        (0, 4),
        (1, 1),
        (1, 3),
    ]


def test_users_are_counted_by_their_pairs():
    users = np.arange(2, 3000)
    assert (users_of_pairs(users * (users - 1) // 2) == users).all()
