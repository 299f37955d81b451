"""The whole export: from a database and files of interactions to a folder, or to one line with the reason."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, StoreError
from fuseid.pipelines.exports.folder import read_manifest
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.sequences.options import Options, parse_cuts

START = 1714564800


@pytest.fixture
def events(interactions) -> Path:
    """Two hundred events of thirty users with sixty items, some unknown, some twice, in no order."""
    generator = np.random.default_rng(3)
    rows = []
    for _ in range(200):
        user, item = int(generator.integers(30)), int(generator.integers(66))
        rows.append([f"u{user}", f"v{item:03d}", START + int(generator.integers(10_000)), f"{item % 3}"])
    return interactions([*rows, rows[7], rows[100]], "user_id,content_id,timestamp,event")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def examples_in(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_examples_carry_the_ids_of_the_ledger_and_the_manifest_says_how_they_came_about(fitted, events, tmp_path):
    manifest = export_sequences(fitted.uri(), events, tmp_path / "out", options=Options(max_history=5), shards=3)
    assert read_manifest(tmp_path / "out") == manifest
    ledger = fitted.store().dataset("assignments").to_table().to_pylist()
    ids = {row["content_id"]: [*row["codes"], row["suffix"] or 0] for row in ledger}
    rows = examples_in(tmp_path / "out")
    for row in rows:
        assert row["codes"] == [ids[item] for item in row["items"]]
        assert row["target_codes"] == ids[row["target"]]
        assert 1 <= len(row["items"]) <= 5
    known = [line for line in events.read_text().splitlines()[1:] if line.split(",")[1] < "v060"]
    unknown = [line for line in events.read_text().splitlines()[1:] if line.split(",")[1] >= "v060"]
    assert (manifest["events"], manifest["dropped"]["unknown_item"]) == (202, len(unknown))
    assert manifest["dropped"]["duplicate"] == len(known) - len(set(known))
    assert manifest["users"] == len({line.split(",")[0] for line in known})
    assert sum(manifest["examples"].values()) == len(rows) == len(set(known)) - manifest["users"]
    assert manifest["unknown_items"]["items"] == len({line.split(",")[1] for line in unknown})
    assert manifest["interactions"] == [
        {
            "name": "i.csv",
            "bytes": events.stat().st_size,
            "blake2b": hashlib.blake2b(events.read_bytes(), digest_size=16).hexdigest(),
        }
    ]
    assert manifest["options"]["time_unit"] == "s"
    assert manifest["options"]["train"] == "prefix"
    assert manifest["tag"] in fitted.store().dataset("assignments").tags.list()
    assert manifest["tokenizer_id"] == fitted.store().setting("champion")
    assert str(tmp_path) not in json.dumps(manifest)


def test_shards_move_users_between_files_and_change_nothing_else(fitted, events, tmp_path):
    found = []
    for shards in (1, 4):
        manifest = export_sequences(fitted.uri(), events, tmp_path / str(shards), shards=shards)
        assert len([name for name in manifest["files"] if name.startswith("part-")]) == shards
        rows = examples_in(tmp_path / str(shards))
        found.append(sorted(rows, key=lambda row: (row["user_id"], row["target_timestamp"], repr(row))))
    assert found[0] == found[1]


def test_the_number_of_threads_does_not_change_the_files(fitted, events, tmp_path, monkeypatch):
    for cores in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        export_sequences(fitted.uri(), events, tmp_path / str(cores), shards=5)
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "3")


@pytest.mark.parametrize("format", ["parquet", "grid", "minionerec", "cornac", "rectools"])
def test_the_same_input_gives_the_same_bytes_also_after_the_database_has_moved_on(
    fitted, cluster, events, tmp_path, format
):
    tag = export_sequences(fitted.uri(), events, tmp_path / "one", format, shards=2)["tag"]
    fitted.ingest_vectors(cluster(70))
    export_sequences(fitted.uri(), events, tmp_path / "two", format, shards=2, tag=tag)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    later = export_sequences(fitted.uri(), events, tmp_path / "three", format, shards=2)
    assert later["unknown_items"]["items"] == 0


def test_interactions_are_all_known_events_and_say_so(fitted, events, tmp_path):
    manifest = export_sequences(fitted.uri(), events, tmp_path / "out", "sidinspector", shards=2)
    rows = pq.read_table(tmp_path / "out" / "interactions.parquet").to_pylist()
    names = pq.read_table(tmp_path / "out" / "items.parquet")["content_id"].to_pylist()
    lines = [line.split(",") for line in events.read_text().splitlines()[1:]]
    known = {(user, item, int(time), event) for user, item, time, event in lines if item < "v060"}
    found = [(r["user_id"], names[r["item_id"]], int(r["timestamp"].timestamp()), r["event"]) for r in rows]
    assert len(found) == len(known)
    assert set(found) == known
    assert sum(manifest["examples"].values()) == len(rows)
    assert manifest["users_without_example"] == 0
    assert manifest["options"]["train"] == "events"
    assert "max_history" not in manifest["options"]
    newest = {user: max(time for other, _, time, _ in known if other == user) for user, *_ in known}
    assert all(row["timestamp"].timestamp() == newest[row["user_id"]] for row in rows if row["split"] == "test")


def test_a_share_and_the_time_that_it_means_cut_alike(fitted, events, tmp_path):
    by_share = export_sequences(
        fitted.uri(), events, tmp_path / "share", options=Options("by-time", parse_cuts("0.7,0.85", None)), shards=2
    )
    assert by_share["options"]["cuts"] == ["7/10", "17/20"]
    times = by_share["options"]["cut_times"]
    export_sequences(
        fitted.uri(), events, tmp_path / "time", options=Options("by-time", parse_cuts(",".join(times), None)), shards=2
    )
    assert examples_in(tmp_path / "share") == examples_in(tmp_path / "time")
    assert 0.6 < by_share["examples"]["train"] / sum(by_share["examples"].values()) < 0.7


def test_a_title_is_the_one_that_the_ids_are_exported_with(fitted, events, tmp_path):
    export_ids(fitted.uri(), tmp_path / "ids", "minionerec")
    export_sequences(fitted.uri(), events, tmp_path / "out", "minionerec")
    items = json.loads((tmp_path / "ids" / "items.item.json").read_text())
    tokens = json.loads((tmp_path / "ids" / "items.index.json").read_text())
    with (tmp_path / "out" / "test.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["item_title"] == items[row["item_id"]]["title"]
            assert row["item_sid"] == "".join(tokens[row["item_id"]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "arrow"}, "unknown format 'arrow'"),
        ({"options": Options("by-time", (START * 10**6, (START + 1) * 10**6))}, "no example is left for train"),
        (
            {"options": Options(min_history=40)},
            "train and valid and test: known items occur in .* events of 30 users, from",
        ),
        ({"options": Options("by-time", parse_cuts("0.5,0.501", None))}, "both cuts= fall on 2024-05-01T"),
        ({"keep": ["likes"]}, "no column 'likes' to keep"),
        (
            {"format": "rectools", "options": Options(train="last")},
            "rectools has every event once, without a history; leave out train=",
        ),
        ({"format": "sidinspector", "options": Options(max_history=9)}, "leave out max_history="),
        ({"shards": 1000}, "shards= is 1 to 256, got 1000"),
        ({"tag": "yesterday"}, "has no tag 'yesterday'"),
    ],
)
def test_an_invalid_export_is_refused_in_one_line_and_leaves_nothing(fitted, events, tmp_path, change, said):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadInput, match=said) as refused:
        export_sequences(fitted.uri(), events, tmp_path / "out", **change)
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_kept_column_with_a_name_of_the_format_is_refused(fitted, interactions, tmp_path):
    path = interactions([["u", "v001", START, "x"]], "user_id,content_id,timestamp,codes")
    with pytest.raises(BadInput, match="parquet has a column 'codes' of its own; rename yours"):
        export_sequences(fitted.uri(), path, tmp_path / "out")


def test_bad_rows_and_unknown_items_leave_nothing(fitted, interactions, tmp_path):
    for row, said in (
        (["", "v001", START], "no user_id in 1 row, the first is row 1 of i.csv"),
        (["u", "w", START], "none of the 1 interactions"),
    ):
        path = interactions([row])
        with pytest.raises(BadInput, match=said):
            export_sequences(fitted.uri(), path, tmp_path / "out")
        assert {path.name for path in tmp_path.iterdir()} == {"db", "media", "i.csv"}


def test_a_folder_in_use_is_left_alone(fitted, events, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(BadInput, match="not an empty folder"):
        export_sequences(fitted.uri(), events, tmp_path / "out")
    assert bytes_of(tmp_path / "out") == {"mine": b"mine"}


def test_before_the_fit_there_is_nothing_to_join(bare, cluster, events, tmp_path):
    bare.ingest_vectors(cluster(5))
    with pytest.raises(StoreError, match="no semantic IDs yet"):
        export_sequences(bare.uri(), events, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_impressions_are_kept_unchanged(fitted, tmp_path):
    shown = [["v001", "v002"], None, [], ["v003"]]
    table = pa.table(
        {
            "user_id": ["u"] * 4,
            "content_id": ["v001", "v002", "v003", "v004"],
            "timestamp": pa.array([START + number for number in range(4)], pa.timestamp("s", "UTC")),
            "impressions": pa.array(shown, pa.list_(pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "i.parquet")
    export_sequences(fitted.uri(), tmp_path / "i.parquet", tmp_path / "out")
    rows = examples_in(tmp_path / "out")
    assert [(row["split"], row["impressions"]) for row in rows] == [("train", None), ("valid", []), ("test", ["v003"])]
