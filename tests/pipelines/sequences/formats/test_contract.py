"""Formats: hand-written golden files, round trips through independent readers, and the same bytes each time."""

from __future__ import annotations

import ast
import csv
import gzip
import json
import re
import struct
import tarfile
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.sequences.formats import grid
from fuseid.pipelines.sequences.options import EVENTS, SPLITS, Options
from fuseid.pipelines.sequences.registry import FORMATS, format_named
from fuseid.pipelines.sequences.shards import Job, write_shard
from fuseid.pipelines.sequences.texts import sid_texts
from fuseid.tokenizers.vocabulary import Vocabulary

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MICROS = int(NOON.timestamp()) * 10**6
KEPT = pa.schema([("event", pa.string()), ("weight", pa.float64()), ("shown", pa.list_(pa.string()))])
NAMES = ["c0", "c1", "c2", "c3", "c4"]


def rows_of(user: str, items: list[int]) -> list[tuple]:
    return [
        (user, item, MICROS + place, None if place == 1 else f"e{place}", place / 2, [NAMES[item], "ü"])
        for place, item in enumerate(items)
    ]


# A user's name may be anything.
ROWS = rows_of('a"b,\n', [0, 1, 2, 3, 4]) + rows_of("u2", [4, 4, 1]) + rows_of("u3", [2, 0])


def job_of(name: str, shards: int) -> Job:
    """All training examples, or all events for a format that is a table of interactions."""
    return Job(name, Options(), EVENTS if FORMATS[name].TRAIN == EVENTS else "prefix", shards)


@pytest.fixture(scope="module")
def folders(items, shard_of, tmp_path_factory) -> dict[str, Path]:
    """Each format's files of the same events in two shards, the third user alone in the second."""
    out = {}
    for name, form in FORMATS.items():
        out[name] = tmp_path_factory.mktemp(name)
        for number, rows in enumerate([ROWS[:8], ROWS[8:]]):
            write_shard(job_of(name, 2), items, number, shard_of(rows, KEPT), out[name])
        form.finish(out[name], items)
    return out


# split, user, history, target: by hand, the first shard before the second.
EXAMPLES = [
    ("train", 'a"b,\n', [0], 1),
    ("train", 'a"b,\n', [0, 1], 2),
    ("valid", 'a"b,\n', [0, 1, 2], 3),
    ("valid", "u2", [4], 4),
    ("test", 'a"b,\n', [0, 1, 2, 3], 4),
    ("test", "u2", [4, 4], 1),
    ("test", "u3", [2], 0),
]


def kept_of(example: tuple) -> dict[str, Any]:
    place = len(example[2])
    return {"event": None if place == 1 else f"e{place}", "weight": place / 2, "shown": [NAMES[example[3]], "ü"]}


def test_parquet_files_hold_the_examples(folders, codes):
    assert [path.name for path in sorted(folders["parquet"].iterdir())] == ["part-00000.parquet", "part-00001.parquet"]
    table = pa.concat_tables(pq.read_table(path) for path in sorted(folders["parquet"].iterdir()))
    assert table.schema.names[:8] == [
        "user_id", "split", "items", "codes", "timestamps", "target", "target_codes", "target_timestamp",
    ]  # fmt: skip
    assert str(table.schema.field("codes").type) == "list<element: list<element: int32>>"
    assert str(table.schema.field("timestamps").type) == "list<element: timestamp[us, tz=UTC]>"
    micros = table.set_column(4, "timestamps", table["timestamps"].cast(pa.list_(pa.int64())))
    micros = micros.set_column(7, "target_timestamp", table["target_timestamp"].cast(pa.int64()))
    assert micros.to_pylist() == [
        {
            "user_id": user,
            "split": split,
            "items": [NAMES[item] for item in past],
            "codes": [list(codes[NAMES[item]]) for item in past],
            "timestamps": [MICROS + place for place in range(len(past))],
            "target": NAMES[target],
            "target_codes": list(codes[NAMES[target]]),
            "target_timestamp": MICROS + len(past),
            **kept_of((split, user, past, target)),
        }
        for split, user, past, target in EXAMPLES
    ]
    splits = pq.ParquetFile(folders["parquet"] / "part-00000.parquet").metadata
    assert [splits.row_group(group).num_rows for group in range(splits.num_row_groups)] == [2, 2, 2]


def test_a_jsonl_line_equals_the_golden_one(folders):
    first = (folders["jsonl"] / "train-00000.jsonl").read_text(encoding="utf-8").splitlines()[1]
    assert first == (
        '{"messages": [{"role": "user", "content": "<a_0><b_1><c_0> <a_0><b_1><c_1>"}, '
        '{"role": "assistant", "content": "<a_1><b_0><c_0>"}], "user_id": "a\\"b,\\n", "target": "c2", '
        '"target_timestamp": "2024-05-01T12:00:00.000002+00:00", "event": "e2", "weight": 1.0, "shown": ["c2", "ü"]}'
    )


def test_tokens_are_those_of_the_vocabulary(items):
    vocabulary = Vocabulary((4, 3), suffixes=16)
    tokens = [
        "".join(vocabulary.token(level, code) for level, code in enumerate(row)) for row in items.codes_NM.tolist()
    ]
    assert sid_texts(items.codes_NM, bare=False).to_pylist() == tokens


def test_jsonl_files_hold_the_examples(folders, codes):
    by_codes = {code: number for number, code in enumerate(codes.values())}

    def items_of(text: str) -> list[int]:
        return [by_codes[tuple(map(int, re.findall(r"_(\d+)>", one)))] for one in text.split(" ")]

    found = []
    for split in SPLITS:
        for path in sorted(folders["jsonl"].glob(f"{split}-*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                asked, answered = row["messages"]
                assert (asked["role"], answered["role"]) == ("user", "assistant")
                example = (split, row["user_id"], items_of(asked["content"]), *items_of(answered["content"]))
                assert {name: row[name] for name in KEPT.names} == kept_of(example)
                assert row["target"] == NAMES[example[3]]
                found.append(example)
    assert found == EXAMPLES


def test_minionerec_files_hold_the_examples(folders, codes):
    assert sorted(path.name for path in folders["minionerec"].iterdir()) == ["test.csv", "train.csv", "valid.csv"]

    def sid(number: int) -> str:
        a, b, digit = codes[NAMES[number]]
        return f"<a_{a}><b_{b}>" + (f"<c_{digit}>" if digit else "")

    found = []
    for split in SPLITS:
        with (folders["minionerec"] / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                past = ast.literal_eval(row["history_item_id"])
                assert ast.literal_eval(row["history_item_sid"]) == list(map(sid, past))
                assert ast.literal_eval(row["history_item_title"]) == [f"title of {NAMES[item]}" for item in past]
                target = int(row["item_id"])
                assert (row["item_sid"], row["item_title"]) == (sid(target), f"title of {NAMES[target]}")
                example = (split, row["user_id"], past, target)
                kept = kept_of(example)
                assert row["event"] == (kept["event"] or "")
                assert (float(row["weight"]), json.loads(row["shown"])) == (kept["weight"], kept["shown"])
                found.append(example)
    assert found == EXAMPLES


def test_a_minionerec_row_equals_the_golden_one(items, shard_of, tmp_path):
    write_shard(Job("minionerec", Options(), "prefix", 1), items, 0, shard_of([("u", 1, 5), ("u", 0, 6)]), tmp_path)
    format_named("minionerec").finish(tmp_path, items)
    header = "user_id,history_item_title,item_title,history_item_id,item_id,history_item_sid,item_sid"
    line = "u,['title of c1'],title of c0,[1],0,['<a_0><b_1><c_1>'],<a_0><b_1>"
    assert (tmp_path / "test.csv").read_text() == f"{header}\n{line}\n"
    assert (tmp_path / "train.csv").read_text() == ""


def crc32c(data: bytes) -> int:
    """Castagnoli's, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def records_of(data: bytes) -> list[bytes]:
    """The records of a TFRecord file, their checksums compared."""

    def unmasked(masked: bytes) -> int:
        rotated = (struct.unpack("<I", masked)[0] - 0xA282EAD8) % 2**32
        return (rotated >> 17 | rotated << 15) % 2**32

    found = []
    while data:
        length = struct.unpack("<Q", data[:8])[0]
        record = data[12 : 12 + length]
        assert unmasked(data[8:12]) == crc32c(data[:8])
        assert unmasked(data[12 + length : 16 + length]) == crc32c(record)
        found.append(record)
        data = data[16 + length :]
    return found


def test_the_checksum_is_that_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283
    assert records_of(grid.framed(b"") + grid.framed(b"abc")) == [b"", b"abc"]


def test_a_grid_record_equals_the_golden_one(items, shard_of, tmp_path):
    """A record by hand: Example { features { feature: name -> Feature { int64_list { packed values } } } }."""
    write_shard(Job("grid", Options(), "last", 1), items, 0, shard_of([("u", 1, 5), ("u", 2, 6)]), tmp_path)
    sequence = b"\x0a\x0dsequence_data" + b"\x12\x06" + b"\x1a\x04\x0a\x02\x01\x02"
    user = b"\x0a\x07user_id" + b"\x12\x05" + b"\x1a\x03\x0a\x01\x00"
    features = b"\x0a" + bytes([len(sequence)]) + sequence + b"\x0a" + bytes([len(user)]) + user
    data = gzip.decompress((tmp_path / "testing" / "part-00000.tfrecord.gz").read_bytes())
    assert records_of(data) == [b"\x0a" + bytes([len(features)]) + features]


def test_grid_files_hold_the_examples(folders):
    folder = folders["grid"]
    users = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "users").iterdir()))
    names = dict(zip(users["number"].to_pylist(), users["user_id"].to_pylist(), strict=True))
    # First of two shards: even numbers.
    assert names == {0: 'a"b,\n', 2: "u2", 1: "u3"}
    assert pq.read_table(folder / "items.parquet").to_pydict() == {"number": [0, 1, 2, 3, 4], "content_id": NAMES}
    found = []
    for split, place in zip(SPLITS, ("training", "evaluation", "testing"), strict=True):
        for path in sorted((folder / place).iterdir()):
            for record in records_of(gzip.decompress(path.read_bytes())):
                features = grid.example_message().FromString(record).features.feature
                (user,) = features["user_id"].int64_list.value
                *past, target = features["sequence_data"].int64_list.value
                example = (split, names[user], past, target)
                kept = kept_of(example)
                assert features["event"].HasField("bytes_list")
                assert list(features["event"].bytes_list.value) == ([kept["event"].encode()] if kept["event"] else [])
                assert list(features["weight"].float_list.value) == [kept["weight"]]
                assert [text.decode() for text in features["shown"].bytes_list.value] == kept["shown"]
                found.append(example)
    assert found == EXAMPLES


def test_webdataset_files_hold_the_examples(folders, codes):
    found = []
    for split in SPLITS:
        for path in sorted(folders["webdataset"].glob(f"{split}-*.tar")):
            shard = path.stem[-5:]
            with tarfile.open(path) as tar:
                for number, member in enumerate(tar.getmembers()):
                    assert member.name == f"{shard}-{number:09d}.json"
                    assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
                    row = json.loads(tar.extractfile(member).read())
                    past, target = [NAMES.index(name) for name in row["items"]], NAMES.index(row["target"])
                    example = (split, row["user_id"], past, target)
                    assert {name: row[name] for name in KEPT.names} == kept_of(example)
                    assert row["codes"] == [list(codes[name]) for name in row["items"]]
                    assert row["target_codes"] == list(codes[row["target"]])
                    assert datetime.fromisoformat(row["timestamps"][0]) == NOON
                    assert datetime.fromisoformat(row["target_timestamp"]).microsecond == len(past)
                    found.append(example)
    assert found == EXAMPLES


def test_cornac_files_hold_the_examples(folders):
    folder = folders["cornac"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "items.parquet", "sessions", "test.tsv", "train.tsv", "valid.tsv",
    ]  # fmt: skip
    assert pq.read_table(folder / "items.parquet").to_pydict() == {"number": [0, 1, 2, 3, 4], "content_id": NAMES}
    sessions = {row["session"]: row for row in pq.read_table(folder / "sessions").to_pylist()}
    found = []
    for split in SPLITS:
        rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text().splitlines()]
        for (user, session), of_session in groupby(rows, key=lambda row: row[:2]):
            *past, target = of_session
            facts = sessions.pop(session)
            example = (split, facts["user_id"], [int(row[2]) for row in past], int(target[2]))
            assert (facts["split"], facts["user"]) == (split, int(user))
            assert {name: facts[name] for name in KEPT.names} == kept_of(example)
            assert [int(row[3]) for row in (*past, target)] == [MICROS + place for place in range(len(past) + 1)]
            found.append(example)
    assert found == EXAMPLES
    assert not sessions


# split, user, position among the user's events, item: by hand; the split of each event, also of first ones.
ALL_EVENTS = [
    ("train", 'a"b,\n', 0, 0),
    ("train", 'a"b,\n', 1, 1),
    ("train", 'a"b,\n', 2, 2),
    ("train", "u2", 0, 4),
    ("valid", 'a"b,\n', 3, 3),
    ("valid", "u2", 1, 4),
    ("test", 'a"b,\n', 4, 4),
    ("test", "u2", 2, 1),
    ("valid", "u3", 0, 2),
    ("test", "u3", 1, 0),
]


def test_rectools_files_hold_all_events(folders):
    table = pq.read_table(folders["rectools"] / "interactions.parquet")
    assert table.schema.names == ["user_id", "item_id", "weight", "datetime", "split", "event", "shown"]
    assert [str(kind) for kind in table.schema.types[2:4]] == ["double", "timestamp[us]"]
    assert table.to_pylist() == [
        {
            "user_id": user,
            "item_id": NAMES[item],
            "weight": place / 2,
            "datetime": (NOON + timedelta(microseconds=place)).replace(tzinfo=None),
            "split": split,
            "event": None if place == 1 else f"e{place}",
            "shown": [NAMES[item], "ü"],
        }
        for split, user, place, item in ALL_EVENTS
    ]


def test_rectools_weighs_events_without_a_weight_1(items, shard_of, tmp_path):
    kept = pa.schema([("weight", pa.float64())])
    for name, schema, rows in (
        ("none", pa.schema([]), [("u", item, item) for item in range(3)]),
        ("some", kept, [("u", 0, 0, None), ("u", 1, 1, 2.5), ("u", 2, 2, 0.0)]),
    ):
        (tmp_path / name).mkdir()
        write_shard(job_of("rectools", 1), items, 0, shard_of(rows, schema), tmp_path / name)
    assert pq.read_table(tmp_path / "none" / "interactions.parquet")["weight"].to_pylist() == [1, 1, 1]
    assert pq.read_table(tmp_path / "some" / "interactions.parquet")["weight"].to_pylist() == [1, 2.5, 0]


def test_sidinspector_files_hold_all_events(folders):
    folder = folders["sidinspector"]
    table = pq.read_table(folder / "interactions.parquet")
    assert table.schema.names == ["user_id", "item_id", "timestamp", "split", *KEPT.names]
    rows = table.set_column(2, "timestamp", table["timestamp"].cast(pa.int64())).to_pylist()
    assert [(row["split"], row["user_id"], row["timestamp"] - MICROS, row["item_id"]) for row in rows] == ALL_EVENTS
    assert [row["weight"] for row in rows] == [place / 2 for _, _, place, _ in ALL_EVENTS]
    assert pq.read_table(folder / "items.parquet").to_pydict() == {"number": [0, 1, 2, 3, 4], "content_id": NAMES}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_events_give_the_same_bytes(items, shard_of, folders, tmp_path, name, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1.0)
    for number, rows in enumerate([ROWS[:8], ROWS[8:]]):
        # The order of users does not matter, only that of the rows of each user.
        rows = sorted(rows, key=lambda row: row[0], reverse=True)
        write_shard(job_of(name, 2), items, number, shard_of(rows, KEPT), tmp_path)
    format_named(name).finish(tmp_path, items)

    def bytes_of(folder: Path) -> dict[str, bytes]:
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert bytes_of(tmp_path) == bytes_of(folders[name])


def test_kept_columns_of_every_type_are_written(items, shard_of, tmp_path):
    kept = pa.schema(
        [
            ("day", pa.date32()),
            ("raw", pa.binary()),
            ("flag", pa.bool_()),
            ("nested", pa.struct([("a", pa.list_(pa.int64()))])),
            ("many", pa.list_(pa.float32())),
        ]
    )
    facts = (datetime(2024, 5, 1).date(), b"\xff", True, {"a": [1]}, [0.5, None])
    rows = [("u", item, item, *facts) for item in range(4)]
    for name, form in FORMATS.items():
        folder = tmp_path / name
        folder.mkdir()
        write_shard(job_of(name, 1), items, 0, shard_of(rows, kept), folder)
        form.finish(folder, items)
    expected = {"day": "2024-05-01", "raw": "\\xff", "flag": True, "nested": {"a": [1]}, "many": [0.5, None]}
    line = json.loads((tmp_path / "jsonl" / "test-00000.jsonl").read_text())
    assert {name: line[name] for name in expected} == expected
    with (tmp_path / "minionerec" / "test.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[name] for name in kept.names] == ['"2024-05-01"', '"\\\\xff"', "True", '{"a": [1]}', "[0.5, null]"]
    data = gzip.decompress((tmp_path / "grid" / "testing" / "part-00000.tfrecord.gz").read_bytes())
    features = grid.example_message().FromString(records_of(data)[0]).features.feature
    assert list(features["flag"].int64_list.value) == [1]
    assert list(features["raw"].bytes_list.value) == [b"\xff"]
    assert list(features["nested"].bytes_list.value) == [b'{"a": [1]}']
    assert np.array_equal(features["many"].float_list.value, [0.5])
    for path in ("cornac/sessions", "rectools/interactions.parquet", "sidinspector/interactions.parquet"):
        row = pq.read_table(tmp_path / path).select(kept.names).to_pylist()[-1]
        assert row == dict(zip(kept.names, facts, strict=True))


def test_an_unknown_format_is_refused():
    with pytest.raises(BadInput, match="unknown format 'arrow'; there are parquet, jsonl, minionerec, grid, webdat"):
        format_named("arrow")
