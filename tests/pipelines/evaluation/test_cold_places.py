"""Cold items get places in the lists of a trial by the codes that they share with the history."""

from __future__ import annotations

import numpy as np

from fuseid.pipelines.evaluation import histories
from fuseid.pipelines.evaluation.cold_places import ColdPlaces, with_cold
from fuseid.pipelines.evaluation.ranking import IdIndex

# Items 0 to 5 are warm, 6 to 8 cold: 6 differs from item 0 by the suffix, 7 shares one code with it, 8 has the ID of 5.
CODES = np.array(
    [[1, 1, 0], [1, 2, 0], [2, 1, 0], [2, 2, 0], [3, 1, 0], [3, 2, 0], [1, 1, 1], [1, 3, 0], [3, 2, 0]], np.int32
)
COLD = np.arange(9) >= 6
TEST = histories.TestHistories(
    np.array([[2, 0], [3, -1], [6, -1]], np.int32), np.array([6, 0, 7]), np.array(["u", "v", "w"], object)
)


def lists(*options: ColdPlaces) -> list[list[list[int]]]:
    """The numbers of the buckets of items 1 to 4 are those of the items; the last place was not filled."""
    index = IdIndex(CODES)
    found = np.append(np.tile(index.of_N[[1, 2, 3, 4]], (3, 1)), np.full((3, 1), -1), axis=1)
    item_of = {int(bucket): item for item, bucket in reversed(list(enumerate(index.of_N)))} | {-1: -1}
    made = with_cold(found, index, CODES, COLD, TEST, options)
    return [[[item_of[bucket] for bucket in row] for row in list_EB.tolist()] for list_EB in made]


def test_places_go_to_items_that_share_enough_codes_and_else_stay_as_they_were():
    half, fewer, suffix = lists(ColdPlaces(0.5, 1), ColdPlaces(0.25, 1), ColdPlaces(0.5, 2))
    assert half[0] == [1, 6, 2, 7, -1]
    assert fewer[0] == [1, 2, 3, 6, -1]
    assert suffix[0] == [1, 6, 2, 3, -1]
    assert half[1] == fewer[1] == suffix[1] == [1, 2, 3, 4, -1], "no cold item begins with the code 2"


def test_an_item_of_the_history_gets_no_place():
    [made] = lists(ColdPlaces(0.25, 1))
    assert made[2] == [1, 2, 3, 7, -1]


def test_without_options_nothing_is_listed():
    assert lists() == []
