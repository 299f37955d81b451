"""Rows by partition on disk: each row is in one part of its partition, with its place, however they were added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuseid.core.errors import NotReady
from fuseid.pipelines.neighbourhood import row_files
from fuseid.pipelines.neighbourhood.row_files import Parts, RowFiles, new_file


@pytest.fixture
def files(tmp_path: Path):
    opened = RowFiles(3, tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize("copied", [1, 1 << 20])
def test_all_rows_are_read_by_partition_in_the_order_of_their_places(files, copied, monkeypatch):
    monkeypatch.setattr(row_files, "PART_ROWS", 7)
    monkeypatch.setattr(row_files, "_COPIED_BYTES", copied)
    generator = np.random.default_rng(0)
    vectors, partition = generator.normal(size=(100, 3)).astype(np.float32), generator.integers(0, 4, 100)
    partition[partition == 2] = 0
    for start in range(0, 100, 30):
        files.add(vectors[start : start + 30], partition[start : start + 30], 4)
    order = [3, 2, 0, 1]
    files.finish(order)
    parts = files.parts
    assert parts.rows == 100
    for number, former in enumerate(order):
        rows = [files.read(part) for part in parts.of_partition(number)]
        places = np.concatenate([np.zeros(0, np.uint32), *(each.places_N for each in rows)])
        assert places.tolist() == np.flatnonzero(partition == former).tolist()
        for each in rows:
            assert 0 < len(each.places_N) <= 7
            assert (each.vectors_ND == vectors[each.places_N]).all()
    assert [files.row(row).places_N.item() for row in (0, 99)] == [
        np.flatnonzero(partition == 3)[0], np.flatnonzero(partition == 1)[-1]
    ]  # fmt: skip


def test_groups_are_all_parts_in_order_and_have_enough_rows():
    parts = Parts.of(np.array([3, 0, 20_000, 5, 1]))
    assert parts.partition_R.tolist() == [0, 2, 2, 2, 3, 4]
    groups = parts.groups(8000)
    assert [part for group in groups for part in group] == list(range(parts.count))
    sizes = [int(parts.starts_R[group.stop] - parts.starts_R[group.start]) for group in groups]
    assert min(sizes[:-1]) >= 8000


def test_a_full_disk_is_named(files, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(NotReady, match=f"{tmp_path}: No space left on device"):
        files.add(np.zeros((1, 3), np.float32), np.zeros(1, np.int64), 1)
    with pytest.raises(NotReady, match="cannot write the vectors"):
        new_file(tmp_path / "nowhere")
