"""Files of pairs: what is written is read back, ready-made ones in any order, and bad rows are named."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.engagement import pairs_file
from fuseid.pipelines.engagement.pairs_file import KEY, Pairs, read_pairs, write_pairs

IDS = st.sampled_from(["a", "B", "aa", "é", "10", "9", "z" * 30])
ROWS = st.lists(
    st.tuples(IDS, IDS, st.floats(2**-10, 2**10, width=32)).filter(lambda row: row[0] != row[1]),
    min_size=1,
    max_size=40,
)
ABOUT = {"method": "window", "until": "2024-05-01T00:00:00+00:00", "leave_out": 1, "last_event": None}


def rows_of(pairs: Pairs) -> list[tuple[str, str, float]]:
    ids = pairs.content_ids.to_pylist()
    return [(ids[i], ids[j], w) for i, j, w in zip(pairs.first_P, pairs.second_P, pairs.weight_P.tolist(), strict=True)]


def written(path: Path, rows: list[tuple], names: str = "content_id,partner_id,weight") -> Path:
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(names.split(","), map(list, columns), strict=True))), path)
    return path


def rewritten(path: Path, pairs: Pairs, pieces: int = 1) -> str:
    places = np.array_split(np.arange(len(pairs)), pieces)
    given = [(pairs.first_P[some], pairs.second_P[some], pairs.weight_P[some]) for some in places]
    return write_pairs(path, pairs.content_ids, given, lambda: ABOUT)


@given(ROWS)
def test_ready_made_rows_in_any_order_become_sums_of_unordered_pairs(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("ready")
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for one, other, weight in rows:
        key = (one, other) if one.encode() < other.encode() else (other, one)
        sums[key] += weight
    pairs = read_pairs(written(folder / "p.parquet", rows))
    found = rows_of(pairs)
    assert [row[:2] for row in found] == sorted(sums, key=lambda key: (key[0].encode(), key[1].encode()))
    assert [row[2] for row in found] == pytest.approx([sums[row[:2]] for row in found], rel=1e-6)
    assert pairs.content_ids.to_pylist() == sorted({name for key in sums for name in key}, key=str.encode)
    turned = [(other, one, weight) for one, other, weight in reversed(rows)]
    assert read_pairs(written(folder / "q.parquet", turned)).fingerprint == pairs.fingerprint
    assert (pairs.method, pairs.until, pairs.about) == ("ready-made", None, {})


def test_what_is_written_is_read_back_and_the_bytes_do_not_depend_on_the_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs_file, "_GROUP_ROWS", 7)
    monkeypatch.setattr(pairs_file, "_HASHED_ROWS", 3)
    rows = [(f"i{a:03d}", f"i{b:03d}", 1 / (1 + a + b)) for a in range(12) for b in range(a + 1, 12)]
    pairs = read_pairs(written(tmp_path / "ready.parquet", rows))
    prints = {rewritten(tmp_path / f"{pieces}.parquet", pairs, pieces) for pieces in (1, 2, 9)}
    again = read_pairs(tmp_path / "9.parquet")
    assert prints == {again.fingerprint} == {pairs.fingerprint}
    assert len({(tmp_path / f"{pieces}.parquet").read_bytes() for pieces in (1, 2, 9)}) == 1
    assert rows_of(again) == rows_of(pairs)
    assert json.loads(pq.read_metadata(tmp_path / "9.parquet").metadata[KEY]) == {"version": 1, **ABOUT}
    assert again.facts() == {"fingerprint": pairs.fingerprint, "count": 66, **ABOUT}


@pytest.mark.parametrize("change", ["weight", "id", "fewer"])
def test_another_pair_or_weight_is_another_fingerprint(tmp_path, change):
    rows = [("a", "b", 1.0), ("a", "c", 2.0)]
    other = {"weight": [("a", "b", 1.0), ("a", "c", 2.5)], "id": [("a", "b", 1.0), ("a", "d", 2.0)], "fewer": rows[:1]}
    pairs = [read_pairs(written(tmp_path / f"{n}.parquet", each)) for n, each in enumerate((rows, other[change]))]
    assert pairs[0].fingerprint != pairs[1].fingerprint


def test_without_weights_a_pair_counts_how_often_it_is_there_also_in_text_and_folders(tmp_path):
    written(tmp_path / "a.parquet", [(7, 9), (9, 7), (7, 8)], "content_id,partner_id")
    assert rows_of(read_pairs(tmp_path / "a.parquet")) == [("7", "8", 1.0), ("7", "9", 2.0)]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "1.csv").write_text("partner_id,content_id,weight\n07,9,0.5\n")
    (folder / "2.csv").write_text("content_id,partner_id,note\n9,07,x\n")
    assert rows_of(read_pairs(folder)) == [("07", "9", 1.5)]


def test_metadata_of_a_later_version_or_damaged_is_refused(tmp_path):
    table = pa.table({"content_id": ["a"], "partner_id": ["b"]})
    for text, said in (
        (b'{"version": 2}', "later fuseid (version 2 of pairs)"),
        (b"{", "is damaged"),
        (b'{"version": 1, "until": "yesterday"}', "is damaged"),
        (b'{"version": 1, "until": 3}', "is damaged"),
        (b"[]", "is damaged"),
    ):
        pq.write_table(table.replace_schema_metadata({KEY: text}), tmp_path / "p.parquet")
        with pytest.raises(BadInput) as refused:
            read_pairs(tmp_path / "p.parquet")
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"content_id": ["a"]}, "has no column partner_id, only content_id; rename what holds it"),
        ({"item": ["a"]}, "has no column content_id and partner_id, only item"),
        ({"content_id": ["a", "b"], "partner_id": ["b", "b"]}, "row 2: 'b' is paired with itself; remove such rows"),
        ({"content_id": ["a", None], "partner_id": ["b", "b"]}, "row 2: content_id is None; every row needs one"),
        ({"content_id": ["a"], "partner_id": [""]}, "row 1: partner_id is ''; every row needs one"),
        ({"content_id": [1.5], "partner_id": ["b"]}, "column content_id must hold text, whole numbers or UUIDs"),
        ({"content_id": ["a"], "partner_id": ["b"], "weight": ["x"]}, "column weight must hold numbers, got string"),
        ({"content_id": ["a"], "partner_id": ["b"], "weight": [0]}, "row 1: weight is 0; weights are above 0"),
        ({"content_id": ["a"], "partner_id": ["b"], "weight": [-1.0]}, "row 1: weight is -1.0; weights are above 0"),
        ({"content_id": ["a"], "partner_id": ["b"], "weight": [float("nan")]}, "row 1: weight is nan"),
        ({"content_id": ["a"], "partner_id": ["b"], "weight": [1e300]}, "row 1: weight is 1e+300"),
        ({"content_id": ["a"] * 2, "partner_id": ["b"] * 2, "weight": [1.0, None]}, "row 2: weight is None"),
        ({"content_id": pa.array([], pa.string()), "partner_id": pa.array([], pa.string())}, "has no pairs"),
    ],
)
def test_bad_rows_are_named_in_one_line(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(BadInput) as refused:
        read_pairs(tmp_path / "p.parquet")
    assert said in str(refused.value)
    assert "p.parquet" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_rows_are_counted_over_pieces_and_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs_file, "_NUMBERED_ROWS", 2)
    rows = [("a", f"b{n}") for n in range(5)] + [("c", "c")]
    written(tmp_path / "p.parquet", rows, "content_id,partner_id")
    with pytest.raises(BadInput, match="row 6: 'c' is paired with itself"):
        read_pairs(tmp_path / "p.parquet")
    (tmp_path / "q.parquet").write_bytes((tmp_path / "p.parquet").read_bytes()[:-9])
    for name, said in (("q.parquet", "cannot read .*q.parquet"), ("nowhere.parquet", "no such files")):
        with pytest.raises(BadInput, match=said):
            read_pairs(tmp_path / name)
