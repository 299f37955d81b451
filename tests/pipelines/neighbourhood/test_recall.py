"""Recall by canaries: how many partitions reach it, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.pipelines.neighbourhood.best import NO_PLACE, keys_of
from fuseid.pipelines.neighbourhood.partitions import Partitions
from fuseid.pipelines.neighbourhood.recall import Recall, found_within, lower_bound, measured, probes_for
from fuseid.pipelines.neighbourhood.row_files import Parts, Rows


def test_a_neighbour_is_found_within_as_many_partitions_as_are_nearer_than_its_own():
    centres = np.array([[0.0], [1.0], [2.0]], np.float32)
    partitions = Partitions(centres, Parts.of(np.array([2, 2, 2])), 3)
    own = Rows(np.array([0, 5], np.uint32), np.array([[0.1], [1.9]], np.float32))
    scores = np.array([[3, 2, 1], [3, 2, 1]], np.float32)
    keys = keys_of(scores, np.array([[1, 2, 5], [4, 3, 2]], np.uint32))
    keys[1, 2] = 0  # has only two neighbours
    partition_of = np.array([0, 0, 1, 1, 2, 2])
    assert found_within(own, keys, partition_of, partitions) == pytest.approx(
        np.array([[1 / 3, 2 / 3, 1], [0.5, 1, 1]])
    )


def test_the_bound_is_below_one_without_an_error_and_below_the_mean():
    assert lower_bound(np.ones(512)) == pytest.approx(1 - 3 / 512, abs=1e-3)
    shares = np.random.default_rng(0).random(400)
    assert shares.mean() - 0.1 < lower_bound(shares) < shares.mean()
    assert lower_bound(np.zeros(3)) == 0
    assert Recall.of(np.ones(9), is_all=True).facts() == {"value": 1.0, "low": 1.0, "high": 1.0, "canaries": 9}
    assert Recall.of(shares, is_all=False).low < shares.mean() < Recall.of(shares, is_all=False).high


def test_the_least_number_of_partitions_that_both_halves_need_is_chosen():
    shares = np.tile(np.array([0.5, 0.96, 0.99, 1.0]), (1000, 1))
    assert probes_for(shares, shares, 0.95) == 2
    assert probes_for(shares, shares - 0.02, 0.95) == 3
    assert probes_for(shares[:20], shares, 0.95) == 4  # few canaries prove little
    assert probes_for(shares, shares - 0.5, 0.95) == 4


def test_a_table_is_measured_by_neighbours_as_near_as_the_true_ones():
    places = np.arange(3, dtype=np.uint32)
    exact = keys_of(np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7]], np.float32), places)
    found = keys_of(np.array([[0.9, 0.7, 0.6], [0.9, 0.8, 0.7]], np.float32), places[::-1])
    assert measured(found, exact) == pytest.approx([2 / 3, 1])
    exact[1], found[1] = 0, 0
    assert measured(found, exact) == pytest.approx([2 / 3, 1])
    assert NO_PLACE not in places
