"""Partitions: their number, their centres, and which of them a row is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.pipelines.neighbourhood.partitions import (
    Closeness,
    Partitions,
    fitted_centres,
    partition_count,
    sample_rows,
)
from fuseid.pipelines.neighbourhood.row_files import Parts


def test_few_rows_are_one_partition_and_many_do_not_need_more_memory():
    assert [partition_count(rows) for rows in (1, 8192, 1_000_000, 10**12)] == [1, 1, 2000, 1 << 15]
    assert 4 * 256 * sample_rows(10**9, 256) <= 64 << 20
    assert sample_rows(10, 256) == 10


def test_centres_are_those_of_clusters_and_the_same_each_time():
    generator = np.random.default_rng(0)
    middle = 10 * generator.normal(size=(12, 6))
    rows = (middle[generator.integers(0, 12, 600)] + 0.01 * generator.normal(size=(600, 6))).astype(np.float32)
    centres = fitted_centres(rows, 12)
    assert (fitted_centres(rows, 12) == centres).all()
    nearest = np.linalg.norm(centres[:, None] - middle[None], axis=2).argmin(1)
    assert sorted(nearest) == list(range(12))
    assert (Closeness(centres).nearest(rows) == np.linalg.norm(rows[:, None] - centres[None], axis=2).argmin(1)).all()
    assert fitted_centres(rows, 1) == pytest.approx(rows.mean(0)[None], abs=1e-5)


@pytest.mark.parametrize("probes", [1, 2, 5])
def test_a_row_is_compared_with_the_nearest_partitions_and_with_more_until_there_are_k(probes):
    generator = np.random.default_rng(1)
    centres, rows = generator.normal(size=(5, 3)).astype(np.float32), generator.normal(size=(700, 3)).astype(np.float32)
    sizes = np.array([1, 1, 0, 30, 2])
    partitions = Partitions(centres, Parts.of(sizes), 4)
    which, found = partitions.probed(rows, probes)
    for row in range(len(rows)):
        order = np.linalg.norm(centres - rows[row], axis=1).argsort()
        most = probes
        while sizes[order[:most]].sum() - 1 < 4 and most < 5:
            most += 1
        assert set(found[which == row]) == set(order[:most])
        assert np.count_nonzero(which == row) == most
