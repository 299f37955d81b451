"""Changes between two exports: the old IDs and the changes together give the new IDs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from fuseid.pipelines.exports.changes import CHANGES, aligned, read_changes, write_changes
from fuseid.pipelines.exports.snapshot import ITEMS

IDS = st.dictionaries(st.text("abä", min_size=1, max_size=3), st.tuples(st.integers(0, 2), st.integers(0, 1)))
SIZES = st.integers(1, 5)


def batches(ids: dict[str, tuple[int, int]], size: int) -> Iterator[pa.RecordBatch]:
    """ids: content_id -> code and suffix."""
    rows = [
        {
            "content_id": name, "kind": "text", "sid": f"{code}" + f".{digit}" * (digit > 0),
            "codes": [code], "suffix": digit or None,
        }
        for name, (code, digit) in sorted(ids.items(), key=lambda pair: pair[0].encode())
    ]  # fmt: skip
    for start in range(0, len(rows), size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=ITEMS)


def sids(ids: dict[str, tuple[int, int]]) -> dict[str, str]:
    return {name: f"{code}" + f".{digit}" * (digit > 0) for name, (code, digit) in ids.items()}


@given(IDS, IDS, SIZES, SIZES)
def test_old_ids_and_changes_are_the_new_ids_and_numbers_are_places(old, new, old_size, new_size):
    rows = [row for table in aligned(batches(old, old_size), batches(new, new_size)) for row in table.to_pylist()]
    ids = [row["content_id"] for row in rows]
    assert ids == sorted(old.keys() | new.keys(), key=str.encode)
    places = [{name: place for place, name in enumerate(sorted(side, key=str.encode))} for side in (old, new)]
    applied = sids(old)
    for row in rows:
        name = row["content_id"]
        assert (row["old_number"], row["new_number"]) == tuple(place.get(name) for place in places)
        if row["change"] is None:
            assert old[name] == new[name]
            continue
        assert row["old_sid"] == applied.pop(name, None)
        assert row["change"] == ("added" if name not in old else "changed" if name in new else "removed")
        if row["change"] != "removed":
            applied[name] = row["new_sid"]
            assert (row["new_codes"], row["new_suffix"]) == ([new[name][0]], new[name][1] or None)
    assert applied == sids(new)


def test_the_file_holds_only_changes_and_the_same_bytes_for_any_batches(tmp_path):
    old = {f"v{i:02d}": (i % 3, i % 2) for i in range(40)}
    new = {f"v{i:02d}": (i % 3, (i + (i > 30)) % 2) for i in range(5, 45)}
    for name, sizes in (("one", (7, 3)), ("two", (100, 11))):
        (tmp_path / name).mkdir()
        counts = write_changes(batches(old, sizes[0]), batches(new, sizes[1]), tmp_path / name, numbers=False)
        assert counts == {"added": 5, "removed": 5, "changed": 9}
    one, two = (Path(tmp_path / name / "changes.parquet") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["changes.parquet"]
    table = pa.Table.from_batches(read_changes(tmp_path / "one"))
    assert table.schema.equals(CHANGES)
    assert table.equals(pq.read_table(one))
    assert len(table) == 19
