"""Coverage: the parts of the catalogue by events, what share of each is in a pair, and examples of each."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fuseid.pipelines.pairing.coverage import Coverage, Example
from fuseid.pipelines.pairing.reduction import BEST


def test_head_middle_and_tail_are_the_items_with_the_most_to_the_fewest_events():
    # Item 10 has no event and belongs to no part; items 0 and 1 have as many.
    coverage = Coverage(np.array([50, 50, 9, 8, 7, 6, 5, 4, 3, 2, 0]))
    coverage.count(np.array([0, 0, 2]), np.array([1, 2, 9]))
    assert coverage.in_pairs == 4
    rows = {row["part"]: row for row in coverage.table()}
    assert [(name, row["items"]) for name, row in rows.items()] == [
        ("all", 10),
        ("head", 2),
        ("middle", 3),
        ("tail", 5),
    ]
    assert [round(row["events"] * 144) for row in rows.values()] == [144, 100, 24, 20]
    assert [row["covered"] for row in rows.values()] == [0.4, 1.0, 1 / 3, 0.2]
    assert [row["pairs_of_item"] for row in rows.values()] == [0.6, 1.5, 2 / 3, 0.2]


def test_examples_are_the_best_pairs_of_some_items_of_each_part():
    coverage = Coverage(np.arange(10, 0, -1))
    rows = [(0, 5, 0.9), (0, 6, 0.8), (0, 7, 0.7), (0, 8, 0.6), (3, 1, 0.5), (9, 0, 0.4)]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), BEST.types, strict=True)]
    coverage.note(pa.table(columns, schema=BEST))
    found = coverage.examples()
    assert [(each.part, each.item) for each in found] == [("head", 0), ("middle", 3), ("tail", 9)]
    assert [partner for partner, _ in found[0].partners] == [5, 6, 7]
    assert isinstance(found[0], Example)


def test_a_catalogue_of_one_item_has_empty_parts():
    rows = Coverage(np.array([3])).table()
    assert [row["items"] for row in rows] == [1, 0, 0, 1]
    assert [row["covered"] for row in rows] == [0.0, None, None, 0.0]
