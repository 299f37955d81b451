"""The command neighbours: what it writes, prints and refuses."""

from __future__ import annotations

import pyarrow.parquet as pq


def test_it_writes_a_table_and_prints_how_good_it_is(folder, as_text, as_json):
    said = as_text("neighbours", "--db", "db", "--out", "near", "-k", "3")
    assert "written to near" in said
    assert "exact: every item was compared with all others" in said
    rows = pq.read_table(folder / "near" / "neighbours-00000.parquet").to_pylist()
    assert [row["content_id"] for row in rows] == [f"v{number:02d}" for number in range(40)]
    assert all(len(row["neighbours"]) == 3 for row in rows)
    # The vectors are around five centres, in turn.
    assert {(int(row["content_id"][1:]) - int(each[1:])) % 5 for row in rows for each in row["neighbours"]} == {0}
    found = as_json("lookup", "--db", "db", "--like", "v07", "-k", "3")
    assert rows[7]["neighbours"] == [row["content_id"] for row in found]
    manifest = as_json("neighbours", "--db", "db", "--out", "again", "-k", "3", "--space", "external")
    assert (manifest["space"], manifest["items"], manifest["target_recall"]) == ("external", 40, 0.95)


def test_a_runner_that_does_not_exist_is_answered_with_the_nearest(refused):
    assert "did you mean local?" in refused("neighbours", "--db", "db", "--out", "near", "--runner", "locl")
