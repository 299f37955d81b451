"""Interactions: reading files, and refusing invalid rows with their place and number."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.interactions import Interactions

HEADER = "user_id,content_id,timestamp,event,weight,impressions"
ROWS = [
    ["007", "c1", 1714564800, "click", 0.5, "[1, 2]"],
    ["8", "c2", 1714564801, "", "", ""],
    ["NA", "null", 1714564802, "ü", -1, "x"],
]


def read(source: Interactions, **options: int) -> list[dict]:
    return [row for batch in source.batches(**options) for row in batch.to_pylist()]


def test_csv_and_parquet_read_alike(interactions, tmp_path):
    from_csv = Interactions.open(interactions(ROWS, HEADER))
    assert from_csv.kept.to_string() == "event: string\nweight: double\nimpressions: string"
    rows = read(from_csv)
    assert rows[0] == {
        "user_id": "007", "content_id": "c1", "timestamp": datetime(2024, 5, 1, 12, tzinfo=UTC), "event": "click",
        "weight": 0.5, "impressions": "[1, 2]",
    }  # fmt: skip
    assert (rows[1]["event"], rows[1]["weight"]) == (None, None)
    assert (rows[2]["user_id"], rows[2]["content_id"]) == ("NA", "null")
    columns = zip(*ROWS, strict=True)
    table = pa.table(
        {name: list(column) for name, column in zip(HEADER.split(","), columns, strict=True) if name != "weight"}
    )
    table = table.append_column("weight", pa.array([0.5, None, -1], pa.float32()))
    table = table.set_column(0, "user_id", table["user_id"].dictionary_encode())
    pq.write_table(table, tmp_path / "i.parquet")
    from_parquet = read(Interactions.open(tmp_path / "i.parquet"))
    assert [
        {**row, "event": row["event"] or None, "impressions": row["impressions"] or None} for row in from_parquet
    ] == rows


def test_columns_keep_their_types_and_numbers_become_names(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([7, 8]),
            "content_id": ["a", "b"],
            "timestamp": pa.array([1714564800] * 2),
            "shown": pa.array([["a", "b"], None], pa.list_(pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "i.parquet")
    source = Interactions.open(tmp_path / "i.parquet")
    assert source.kept.field("shown").type == pa.list_(pa.string())
    assert [(row["user_id"], row["shown"]) for row in read(source)] == [("7", ["a", "b"]), ("8", None)]


def test_a_folder_is_read_by_name_and_in_batches(interactions, tmp_path):
    interactions([["u", "c", 1714564800 + number] for number in range(5)], name="b.csv")
    interactions([["u", "a", 1714564800]], name="a.csv")
    (tmp_path / "_SUCCESS.csv").write_text("")
    source = Interactions.open(tmp_path)
    assert [Path(part.file).name for part in source.files] == ["a.csv", "b.csv"]
    batches = list(source.batches(csv_block=64))
    assert len(batches) > 2
    assert sum(batch.num_rows for batch in batches) == 6
    assert batches[0]["content_id"][0].as_py() == "a"


def test_compressed_text_tabs_and_partitioned_folders_are_read(tmp_path):
    rows = [("u,1", "c1", "2024-05-01 12:00:00 UTC"), ("u2", "c2", "2024-05-01 12:00:01 UTC")]
    text = "user_id\tcontent_id\ttimestamp\n" + "".join("\t".join(row) + "\n" for row in rows)
    expected = [
        (user, item, datetime(2024, 5, 1, 12, 0, second, tzinfo=UTC)) for second, (user, item, _) in enumerate(rows)
    ]
    packed = {"i.tsv": text.encode(), "i.tsv.gz": gzip.compress(text.encode())}
    packed["i.tsv.zst"] = pa.compress(text.encode(), "zstd", asbytes=True)
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        source = Interactions.open(tmp_path / name)
        assert [tuple(row.values()) for row in read(source)] == expected
        assert source.facts()[0]["name"] == name
    for event in ("click", "view"):
        folder = tmp_path / "table" / "dt=2024-05-01" / f"event={event}"
        folder.mkdir(parents=True)
        (folder / "part-0.tsv.gz").write_bytes(packed["i.tsv.gz"])
    source = Interactions.open(tmp_path / "table")
    assert [row["event"] for row in read(source)] == ["click"] * 2 + ["view"] * 2
    assert {row["dt"] for row in read(source)} == {"2024-05-01"}
    assert [fact["name"] for fact in source.facts()] == [
        "dt=2024-05-01/event=click/part-0.tsv.gz", "dt=2024-05-01/event=view/part-0.tsv.gz",
    ]  # fmt: skip
    assert Interactions.open(tmp_path / "table", keep=["event"]).kept.names == ["event"]
    (tmp_path / "i.tsv.gz").write_bytes(packed["i.tsv.gz"][:-9])
    with pytest.raises(BadInput, match=r"i.tsv.gz ends too early: it is no complete gzip file"):
        read(Interactions.open(tmp_path / "i.tsv.gz"))
    (tmp_path / "s.csv").write_text(text.replace("\t", ";"))
    with pytest.raises(BadInput, match=r"s.csv, line 1: the columns are separated by semicolons"):
        Interactions.open(tmp_path / "s.csv")


def test_only_requested_columns_are_kept(interactions):
    path = interactions(ROWS, HEADER)
    assert Interactions.open(path, keep=["weight", "event"]).kept.names == ["weight", "event"]
    assert Interactions.open(path, keep=[]).kept.names == []
    with pytest.raises(BadInput, match="no column 'likes' to keep; there are user_id, content_id, timestamp, event"):
        Interactions.open(path, keep=["likes"])


def test_rows_without_a_user_an_item_or_a_time_are_counted_and_the_first_is_named(interactions):
    good = ["u", "c", 1714564800]
    path = interactions([good, ["", "c", 1714564800], ["u", "", 1714564800], good, ["", "", "never"]])
    with pytest.raises(BadInput) as refused:
        read(Interactions.open(path), csv_block=64)
    assert str(refused.value) == (
        "no user_id in 2 rows, the first is row 2 of i.csv; no content_id in 2 rows, the first is row 3 of i.csv; "
        "no readable timestamp in 1 row, the first is row 5 of i.csv ('never'); correct or remove them"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; a line with the names"),
        ("user_id,content_id,timestamp\n", "has no interactions"),
        ("user,content_id,time\nu,c,1714564800\n", "has no column user_id, timestamp, only user, content_id, time"),
        ("user_id,content_id,timestamp,user_id\n", "two columns 'user_id'"),
        ("user_id,content_id,timestamp\nu,c\n", "cannot read .*i.csv: (Row #2: )?Expected 3 columns, got 2"),
        ("user_id,content_id,timestamp,weight\nu,c,1714564800,heavy\n", "cannot read .*i.csv: .*heavy"),
        (
            "user_id,content_id,timestamp\nu,\udcff,1714564800\n",
            "line 2: the byte 0xFF is not UTF-8; .*iconv",
        ),
        ("user_id,content_id,timestamp\nu,c,3\n", "time stamp 3 may count anything"),
        ("user_id,content_id,timestamp\nu,c,2024-05-01 12:00\n", "have no time zone"),
    ],
)
def test_an_invalid_csv_is_refused(tmp_path, text, said):
    (tmp_path / "i.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=said):
        read(Interactions.open(tmp_path / "i.csv"))


def test_missing_or_unknown_files_are_refused(interactions, tmp_path):
    with pytest.raises(BadInput, match=r"no such files: .*nowhere.csv; interactions are"):
        Interactions.open(tmp_path / "nowhere.csv")
    with pytest.raises(BadInput, match=r"no such files: .*; interactions are"):
        Interactions.open(tmp_path)
    (tmp_path / "i.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(BadInput, match=r"cannot read .*i.parquet"):
        Interactions.open(tmp_path / "i.parquet")
    interactions([], name="i.csv")
    with pytest.raises(BadInput, match=r"names files of .csv and .parquet; interactions are"):
        Interactions.open(tmp_path)
    (tmp_path / "i.txt").write_text("")
    with pytest.raises(BadInput, match=r"names files of .txt; interactions are"):
        Interactions.open(tmp_path / "i.txt")


def test_files_with_other_columns_are_refused(interactions, tmp_path):
    interactions([], name="a.csv")
    interactions([], "user_id,content_id,timestamp,event", "b.csv")
    with pytest.raises(BadInput, match=r"b.csv has other columns than .*a.csv: event \(string\), not none"):
        Interactions.open(tmp_path)
    assert Interactions.open(tmp_path, keep=[]).kept.names == []


def test_a_file_that_is_damaged_behind_its_footer_is_one_line(tmp_path):
    rows = 5000
    table = pa.table(
        {"user_id": [f"u{i}" for i in range(rows)], "content_id": ["c"] * rows, "timestamp": [1714564800] * rows}
    )
    pq.write_table(table, tmp_path / "i.parquet")
    data = bytearray((tmp_path / "i.parquet").read_bytes())
    data[100:2000] = bytes(1900)
    (tmp_path / "i.parquet").write_bytes(data)
    with pytest.raises(BadInput, match=r"cannot read .*i.parquet"):
        read(Interactions.open(tmp_path / "i.parquet"))
