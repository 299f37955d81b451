"""The whole verb: from files of interactions to a file of pairs, or to one line with the reason."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput, NoDatabase, StoreError
from fuseid.pipelines.engagement.pairs_file import read_pairs
from fuseid.pipelines.pairing import making
from fuseid.pipelines.pairing.options import METHODS, Options
from fuseid.pipelines.pairs import pairs
from fuseid.pipelines.store.store import Store

START = 1_714_564_800


def written(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    path.write_text("user_id,content_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    return path


def some_rows(count: int = 800, items: int = 30) -> list[tuple[str, str, int]]:
    generator = np.random.default_rng(5)
    rows = generator.integers(0, [50, items, 90_000], (count, 3)).tolist()
    return [(f"u{user}", f"v{item:03d}", START + time) for user, item, time in rows]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return written(tmp_path / "i.csv", some_rows())


@pytest.mark.parametrize("method", METHODS)
def test_a_file_of_pairs_says_what_it_was_made_from(tmp_path, events, method):
    limit = (START + 60_000) * 10**6
    document = pairs(events, tmp_path / "new" / "p.parquet", Options(method, until=limit, leave_out=1, least=1))
    found = read_pairs(tmp_path / "new" / "p.parquet")
    counts = document["counts"]
    assert (found.method, found.fingerprint, len(found)) == (method, document["fingerprint"], counts["pairs"])
    assert found.until == "2024-05-02T04:40:00+00:00"
    (file,) = found.about["interactions"]
    assert file["blake2b"] == hashlib.blake2b(events.read_bytes(), digest_size=16).hexdigest()
    assert found.about == {**{name: document[name] for name in found.about if name != "version"}, "version": 1}
    early = [row for row in some_rows() if row[2] * 10**6 < limit]
    assert counts["events"] - counts["later"] == len(early)
    assert counts["left_out"] == counts["users"] == 50
    assert counts["used"] == len(set(early)) - 50
    assert found.facts()["last_event"] == document["last_event"] < found.until
    assert counts["items_in_pairs"] == len(found.content_ids) == 30
    assert [row["part"] for row in document["coverage"]] == ["all", "head", "middle", "tail"]
    assert {example["part"] for example in document["examples"]} == {"head", "middle", "tail"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.parquet"]


@pytest.mark.parametrize("method", METHODS)
def test_later_events_change_nothing(tmp_path, method):
    limit = START + 50_000
    rows = some_rows()
    early = [row for row in rows if row[2] < limit]
    poison = [(user, "v000" if number % 2 else "v001", limit + number) for number, (user, *_) in enumerate(rows)]
    found = []
    for name, given in (("early", early), ("late", [*poison, *early]), ("all", rows)):
        path = written(tmp_path / f"{name}.csv", given)
        found.append(pairs(path, tmp_path / f"{name}.parquet", Options(method, until=limit * 10**6)))
    assert len({each["fingerprint"] for each in found}) == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_rows_and_the_format_change_no_pair(tmp_path, events, method, monkeypatch):
    first = pairs(events, tmp_path / "csv.parquet", Options(method))
    users, items, times = zip(*some_rows(), strict=True)
    table = pa.table({"user_id": users, "content_id": items, "timestamp": times})
    pq.write_table(table, tmp_path / "i.parquet")
    monkeypatch.setattr(making, "_MOST_PARTS", 3)
    again = pairs(tmp_path / "i.parquet", tmp_path / "again.parquet", Options(method))
    assert again["fingerprint"] == first["fingerprint"]
    assert again["coverage"] == first["coverage"]


@pytest.mark.parametrize("method", METHODS)
def test_the_same_input_gives_the_same_bytes_with_any_number_of_threads(tmp_path, events, method, monkeypatch):
    for cores in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        pairs(events, tmp_path / f"{cores}.parquet", Options(method))
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "3.parquet").read_bytes()


def test_with_a_database_only_its_items_count_and_examples_have_captions(fitted, tmp_path):
    rows = some_rows(items=70)
    path = written(tmp_path / "i.csv", rows)
    document = pairs(path, tmp_path / "p.parquet", Options("window", least=1), db=fitted.uri())
    known = [row for row in rows if row[1] < "v060"]
    assert document["counts"]["unknown_item"] == len(rows) - len(known)
    alone = pairs(written(tmp_path / "known.csv", known), tmp_path / "q.parquet", Options("window", least=1))
    assert document["fingerprint"] == alone["fingerprint"]
    example = document["examples"][0]
    assert "caption" in example
    assert "caption" in example["partners"][0]
    assert "caption" not in alone["examples"][0]


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (
            [("u", "a", START)],
            {"until": START * 10**6},
            "none of the 1 interaction is before 2024-05-01T12:00:00+00:00; give",
        ),
        (
            [("u", "a", START)],
            {},
            "no pair is left of 1 event of 1 user; give more interactions, less least=",
        ),
        (
            [("u", "a", START)],
            {"leave_out": 1},
            "no pair is left of 0 events of 0 users; give more interactions, less least= and leave_out=",
        ),
        ([("u", "a", START), ("u", "b", START + 1)], {}, "no pair is left of 2 events of 1 user"),
        ([("u", "", START)], {}, "no content_id in 1 row, the first is row 1 of i.csv"),
        ([], {}, "i.csv has no interactions"),
    ],
)
def test_input_without_a_pair_is_refused_in_one_line_and_leaves_nothing(tmp_path, rows, options, said):
    path = written(tmp_path / "i.csv", rows)
    for method in METHODS:
        with pytest.raises(BadInput, match=re.escape(said)) as refused:
            pairs(path, tmp_path / "p.parquet", Options(method, **options))
        assert "\n" not in str(refused.value)
        assert [each.name for each in tmp_path.iterdir()] == ["i.csv"]


def test_a_file_that_exists_or_has_another_ending_is_refused_and_so_is_a_database_without_items(
    bare, fitted, tmp_path, events
):
    options = Options("window")
    (tmp_path / "there.parquet").write_text("mine")
    for out, said in (("there.parquet", "there.parquet exists"), ("p.csv", "names a new .parquet file")):
        with pytest.raises(BadInput, match=said):
            pairs(events, tmp_path / out, options)
    with pytest.raises(NoDatabase):
        pairs(events, tmp_path / "p.parquet", options, db=str(tmp_path / "nowhere"))
    others = written(tmp_path / "o.csv", [("u", "x", START), ("u", "y", START)])
    with pytest.raises(BadInput, match="none of the 2 interactions is with an item of"):
        pairs(others, tmp_path / "p.parquet", options, db=fitted.uri())
    assert (tmp_path / "there.parquet").read_text() == "mine"
    Store.create(tmp_path / "empty")
    with pytest.raises(StoreError, match="is empty"):
        pairs(events, tmp_path / "p.parquet", options, db=str(tmp_path / "empty"))
    assert not (tmp_path / "p.parquet").exists()
