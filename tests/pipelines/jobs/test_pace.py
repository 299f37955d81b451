"""The time of an ingest by the rates of earlier runs: medians and ranges, of runs that can be compared."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from fuseid.core.config import Config
from fuseid.core.schemas import RUNS
from fuseid.pipelines.jobs.pace import Span, estimate
from fuseid.pipelines.store.store import Store

CONFIG = Config.model_validate({"clip": {"model": "fake:16"}})
# A thousand items: decode and encode overlap, and half a second passes between the stages.
SECONDS = {"plan": 1.0, "decode": 10.0, "encode": 20.0, "commit": 1.0, "fuse": 2.0, "assign": 3.0, "maintain": 5.0}
COUNTS = {"listed": 4000, "committed": 900, "rejected": 100, "to_decode": 500, "to_encode": 800, "assigned": 600}
ITEMS = {"plan": 8000, "read": 8000, "decode": 1000, "encode": 1600, "commit": 2000, "assign": 1200}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.create(str(tmp_path / "db"))


def record(store: Store, run_id: str, times: float = 1.0, items: float = 1.0, **other: Any) -> None:
    """A run that took so many times as long, with so many times the items. other: columns of its row."""
    seconds = {name: value * times for name, value in SECONDS.items()} | {"total": 26.0 * times}
    row = dict.fromkeys(RUNS.names) | {
        "run_id": run_id, "job": "ingest", "outcome": "done", "config": CONFIG.model_dump_json(), "rejected": "{}",
        "started_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=int(run_id)),
        "counts": json.dumps({name: int(count * items) for name, count in COUNTS.items()}),
        "seconds": json.dumps(seconds),
    }  # fmt: skip
    store.upsert("runs", pa.Table.from_pylist([row | other], schema=RUNS), key="run_id")


def test_twice_the_items_take_twice_the_time_of_each_stage_and_the_same_at_the_end(store):
    record(store, "1")
    found = estimate(store, CONFIG, vectors=False, items=ITEMS)
    assert found is not None
    assert {each.stage: (each.items, each.seconds.middle) for each in found.stages} == {
        "plan": (8000, 2.0), "decode": (1000, 20.0), "encode": (1600, 40.0), "commit": (2000, 2.0),
        "assign": (1200, 6.0), "fuse": (None, 2.0), "maintain": (None, 5.0),
    }  # fmt: skip
    (decode,) = (each for each in found.stages if each.stage == "decode")
    assert decode.per_thousand == Span(20.0, 20.0, 20.0)
    # 26 - 10 seconds on the clock were 32 of work in the stages before the end.
    assert found.seconds == Span(*[round(64.0 * 16 / 32 + 6.0 + 2.0 + 5.0, 3)] * 3)
    assert (found.runs, found.enough, found.busy) == (["1"], True, 2.0)


def test_of_several_runs_it_is_the_median_of_the_last_five_and_their_range(store):
    for number, times in enumerate((50, 1, 2, 3, 4, 5), start=1):
        record(store, str(number), times=times)
    found = estimate(store, CONFIG, vectors=False, items=ITEMS)
    assert found is not None
    assert found.runs == ["6", "5", "4", "3", "2"]
    (decode,) = (each for each in found.stages if each.stage == "decode")
    assert decode.seconds == Span(60.0, 20.0, 100.0)


def test_a_run_of_an_earlier_fuseid_is_rated_by_what_it_finished(store):
    counts = {name: count for name, count in COUNTS.items() if not name.startswith("to_")}
    record(store, "1", counts=json.dumps(counts))
    found = estimate(store, CONFIG, vectors=False, items=ITEMS)
    assert found is not None
    assert {each.stage: each.seconds.middle for each in found.stages if each.stage in ("decode", "encode")} == {
        "decode": 10.0 / 1000 * 1000, "encode": round(20.0 / 900 * 1600, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"job": "fit"},
        {"outcome": "failed: why"},
        {"config": Config.model_validate({"clip": {"model": "fake:17"}}).model_dump_json()},
        {"config": Config.model_validate({"clip": None}).model_dump_json()},
        {
            "config": Config.model_validate(
                {"clip": {"model": "fake:16"}, "decode": {"long_side": 64}}
            ).model_dump_json()
        },
        {"counts": json.dumps({"listed": 9, "committed": 0})},
        {"seconds": json.dumps({"read": 1.0, "commit": 1.0, "total": 2.0})},
    ],
    ids=["another job", "failed", "another model", "no model", "another decoding", "nothing done", "vectors"],
)
def test_a_run_that_did_something_else_tells_nothing(store, other):
    record(store, "1", **other)
    assert estimate(store, CONFIG, vectors=False, items=ITEMS) is None


def test_device_and_batch_size_do_not_make_another_manner(store):
    other = CONFIG.model_copy(update={"clip": CONFIG.clip.model_copy(update={"batch_size": 9, "device": "cuda"})})
    record(store, "1", config=other.model_dump_json())
    assert estimate(store, CONFIG, vectors=False, items=ITEMS) is not None


def test_small_runs_are_used_if_there_are_no_others_and_that_is_said(store):
    record(store, "2", items=0.1)
    found = estimate(store, CONFIG, vectors=False, items=ITEMS)
    assert found is not None
    assert not found.enough
    record(store, "1")
    found = estimate(store, CONFIG, vectors=False, items=ITEMS)
    assert found is not None
    assert (found.runs, found.enough) == (["1"], True)


def test_runs_of_vectors_are_rated_by_what_they_read(store):
    seconds = {"read": 4.0, "commit": 1.0, "total": 10.0}
    record(store, "1", seconds=json.dumps(seconds), config=Config().model_dump_json())
    found = estimate(store, CONFIG, vectors=True, items={"read": 8000, "commit": 2000})
    assert found is not None
    assert found.seconds.middle == 20.0
