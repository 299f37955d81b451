"""The costs of a run: how they are kept, and which stage limits the speed."""

from __future__ import annotations

import json

import pytest

from fuseid.pipelines.jobs.costs import Costs, split
from fuseid.pipelines.jobs.runs import Run


def test_costs_are_kept_with_the_seconds_and_come_back():
    costs = Costs({"decode": 1.5, "encode": 2.0}, {"encode": 0.5}, {"encode": 0.75})
    seconds = {"decode": 2.0, "encode": 3.0, "total": 4.0}
    stored = json.loads(json.dumps({**seconds, **costs.stored()}))
    assert all(isinstance(value, float) for value in stored.values())  # as in earlier releases
    assert split(stored) == (seconds, costs)
    assert split(seconds) == (seconds, Costs())


@pytest.mark.parametrize(
    ("busy", "limit"),
    [
        ({}, None),
        ({"start": 0.1, "decode": 0.4, "encode": 0.3}, None),
        ({"start": 0.1, "decode": 0.4, "encode": 0.6}, "encode"),
        ({"start": 0.6, "decode": 0.4, "encode": 0.9}, "start"),
        ({"start": 0.1, "decode": 0.9, "encode": 0.9, "cores": 0.9}, "cores"),
        ({"start": 0.1, "decode": 0.9, "encode": 0.6, "cores": 0.8}, "decode"),
    ],
)
def test_the_stage_that_limits_the_speed(busy, limit):
    assert Costs(busy=busy).busiest == limit


def test_stages_of_a_run_have_their_costs_per_thousand_items():
    run = Run("r", "ingest", {"listed": 50, "committed": 40, "rejected": 10})
    run.seconds |= {"decode": 1.0, "encode": 2.0, "commit": 0.1, "total": 3.0}
    run.costs = Costs({"decode": 0.5, "encode": 4.0}, {"encode": 1.0}, {"decode": 0.3, "encode": 0.9})
    rows = {row["stage"]: row for row in run.stages()}
    assert (rows["decode"]["core_seconds_per_thousand_items"], rows["encode"]["busy"]) == (10.0, 0.9)
    assert rows["encode"]["device_seconds_per_thousand_items"] == run.device_seconds_per_thousand() == 25.0
    assert (rows["commit"]["core_seconds"], rows["decode"]["device_seconds"]) == (None, None)
    assert rows["total"]["core_seconds_per_thousand_items"] == 90.0
    assert run.summary()["bottleneck"] == "encode"


def test_a_timed_stage_has_core_seconds_unless_another_process_does_the_work():
    run = Run("r", "fit")
    with run.timed("fit"):
        sum(range(100_000))
    with run.timed("elsewhere", here=False):
        pass
    assert run.costs.cores["fit"] > 0
    assert "elsewhere" not in run.costs.cores
