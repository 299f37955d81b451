"""Checks of all IDs of a file together: each item once, codes within the codebooks, one digest whatever the order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.adoption.checked import CheckedIds
from fuseid.pipelines.exports.columns import IDS

SHOWN = Path("ids.parquet")


class Given:
    """IDs in memory, as a file yields them."""

    def __init__(self, rows: list[tuple[str, list[int], int | None]], batch: int = 7, sizes=None) -> None:
        self.sizes, self.notes, self._rows, self._batch = sizes, [], rows, batch

    def tables(self) -> Iterator[pa.Table]:
        for start in range(0, len(self._rows), self._batch):
            rows = [dict(zip(IDS.names, row, strict=True)) for row in self._rows[start : start + self._batch]]
            yield pa.Table.from_pylist(rows, schema=IDS)


ROWS = [(f"item-{n}", [n % 5, n % 3], n // 15 or None) for n in range(60)]


def checked(tmp_path: Path, rows=ROWS, batch=7, sizes=None, **options) -> CheckedIds:
    scratch = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
    scratch.mkdir()
    return CheckedIds.of(Given(rows, batch, sizes), SHOWN, scratch, **options)


def test_all_ids_come_back_and_their_sizes_are_those_of_the_codes_that_occur(tmp_path):
    found = checked(tmp_path)
    rows = [tuple(row.values()) for table in found.parts() for row in table.to_pylist()]
    assert sorted(rows) == sorted(ROWS)
    assert (found.count, found.sizes, found.shared) == (60, (5, 3), 0)
    assert checked(tmp_path, sizes=(9, 9)).sizes == (9, 9)


def test_order_and_batches_change_nothing_and_any_other_id_changes_the_digest(tmp_path):
    first = checked(tmp_path)
    shuffled = [ROWS[n] for n in np.random.default_rng(0).permutation(60)]
    again = checked(tmp_path, shuffled, batch=11)
    assert again.digest == first.digest
    assert [table.to_pylist() for table in again.parts()] == [table.to_pylist() for table in first.parts()]
    others = [
        ROWS[1:], [("item-00", *ROWS[0][1:]), *ROWS[1:]], [("item-0", [0, 1], None), *ROWS[1:]],
        [("item-0", [0, 0], 9), *ROWS[1:]], [("item-0", [0, 0], 1), *ROWS[1:]],
    ]  # fmt: skip
    assert len({first.digest, *(checked(tmp_path, rows).digest for rows in others)}) == 6


def test_ids_that_items_share_are_counted_and_refused_where_they_are_to_be_unique(tmp_path):
    rows = [*ROWS, ("twin-a", [4, 4], None), ("twin-b", [4, 4], None), ("twin-c", [4, 4], None), ("x", [0, 0], None)]
    assert checked(tmp_path, rows).shared == 2
    assert checked(tmp_path, unique=True).shared == 0
    with pytest.raises(BadInput, match=r"4-4 is the ID of both 'twin-a' and 'twin-c'|0-0 is the ID of both 'item-0'"):
        checked(tmp_path, rows, unique=True)


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        ([*ROWS, ("item-7", [1, 1], 99)], {}, "'item-7' occurs twice"),
        ([*ROWS, ROWS[7]], {}, "'item-7' occurs twice"),
        ([], {}, "holds no IDs"),
        (ROWS, {"sizes": (5, 2)}, "'item-2' has the codes 2-2, outside of codebooks of 5, 2 codes"),
        (ROWS, {"sizes": (5, 3, 2)}, r"IDs have 2 levels, the codebooks 3 \(5, 3, 2\)"),
    ],
)
def test_bad_ids_are_refused_in_one_line(tmp_path, rows, options, problem):
    with pytest.raises(BadInput, match=problem) as caught:
        checked(tmp_path, rows, **options)
    assert "\n" not in str(caught.value)


def test_other_numbers_of_levels_in_a_later_table_are_refused(tmp_path):
    with pytest.raises(BadInput, match="IDs have 2 levels, that of 'deep' has 3"):
        checked(tmp_path, [*ROWS[:7], ("deep", [1, 2, 3], None)])


def test_codes_outside_the_codebooks_of_an_export_are_refused(tmp_path):
    with pytest.raises(BadInput, match="outside of codebooks of 2, 2 codes"):
        CheckedIds.of(Given(ROWS, sizes=(2, 2)), SHOWN, tmp_path)
