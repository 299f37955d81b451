"""What limits the speed of an ingest, and that the settings which move it exist."""

from __future__ import annotations

import re
import time
from typing import Any

import pyarrow as pa
import pytest

from fuseid.core.config import Config
from fuseid.core.surface import shell
from fuseid.pipelines.ingestion import bottleneck
from fuseid.pipelines.ingestion.bottleneck import Capacity, Meter, limit
from fuseid.pipelines.jobs.costs import Costs
from fuseid.pipelines.jobs.runs import Run

CAPACITY = Capacity(decoders=2, takers=2, encoders=1, cores=4)
IDLE = {"start": 0.1, "fetch": 0.0, "decode": 0.1, "encode": 0.1, "commit": 0.1, "cores": 0.2}


def note(busy: dict[str, float], runner: str = "local", device: float = 0.0, **config: Any) -> str | None:
    costs = Costs({"decode": 10.0, "encode": 30.0}, {"encode": device} if device else {}, IDLE | busy)
    text = limit(costs, {"encode": 40.0}, CAPACITY, Config.model_validate(config), runner)
    for key in re.findall(r"\b((?:run|clip|vlm|decode|source)\.[a-z_.]+)", text or ""):
        found: Any = Config.model_validate({"clip": {}}).model_dump()
        for part in key.rstrip(".").split("."):
            assert part in found, f"{key} is no key"
            found = found[part]
    return text


@pytest.mark.parametrize(
    ("busy", "more", "words"),
    [
        ({"start": 0.8}, {}, ["the start", "80% of the time", "larger runs"]),
        ({"start": 0.8}, {"runner": "ray"}, ["runner='local'"]),
        ({"fetch": 0.9}, {}, ["fetch, at work 90%", "source.concurrency: 32"]),
        ({"decode": 0.9}, {"decode": {"workers": 2}}, ["decode, at work 90%", "2 processes", "decode.workers: 0"]),
        ({"decode": 0.9}, {}, ["more cores or nodes", "decode.sampling.frames"]),
        ({"encode": 0.9}, {}, ["encode, at work 90%", "a GPU", "run.encoders", "clip.model"]),
        ({"encode": 0.9}, {"vlm": {"model": "some/vlm"}}, ["vlm.model"]),
        ({"encode": 0.9}, {"device": 35.0}, ["more GPUs", "run.encoders", "clip.batch_size"]),
        ({"encode": 0.9}, {"device": 8.0}, ["computed 20% of that time", "more cores per GPU"]),
        ({"commit": 0.9}, {}, ["commit, at work 90%", "run.wave_rows: 10000"]),
        ({"read": 0.9}, {}, ["read, at work 90%", "runner='ray'"]),
        ({"cores": 0.95, "decode": 1.0}, {}, ["the cores, 95% of 4", "75% of that with encode", "or a GPU"]),
    ],
)
def test_each_limit_names_what_moves_it(busy, more, words):
    text = note(busy, **more)
    assert text.startswith("bottleneck: ")
    for word in words:
        assert word in text


def test_in_the_shell_options_are_those_of_the_command_line():
    with shell():
        assert "--runner local" in note({"start": 0.8}, runner="ray")


def test_nothing_is_said_if_no_stage_was_at_work_half_of_the_time():
    assert note({}) is None


def test_a_meter_separates_the_start_from_the_work(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    meter, run = Meter(), Run("r", "ingest")
    run.seconds |= {"decode": 12.0, "encode": 18.0, "commit": 1.0}

    def batch(seconds: float) -> pa.RecordBatch:
        """Of two rows."""
        parts = {
            "seconds_decode": 0.4, "seconds_encode": 0.6, "wait_fetch": 0.1, "busy_decode": 0.3, "cores_decode": 0.2,
            "cores_encode": 0.8, "device_encode": 0.0,
        }  # fmt: skip
        return pa.RecordBatch.from_pydict({name: [part * seconds / 2] * 2 for name, part in parts.items()})

    now[0] += 15.0  # 10 before the first item, 5 with it
    meter.add(batch(5.0))
    now[0] += 20.0
    meter.add(batch(25.0))
    meter.finish(run, Config(), CAPACITY, "local")
    assert run.costs.cores == {"decode": pytest.approx(6.0), "encode": pytest.approx(24.0)}
    assert run.costs.device == {}
    assert run.costs.busy == {
        "start": pytest.approx(10 / 35, abs=1e-3), "commit": pytest.approx(1 / 25), "fetch": pytest.approx(3 / 50),
        "decode": pytest.approx(9 / 50), "encode": pytest.approx(18 / 25), "cores": pytest.approx(30 / 100),
    }  # fmt: skip
    (said,) = run.notes
    assert said.startswith("bottleneck: encode, at work 72% of the time")


def test_of_a_short_run_or_one_without_work_nothing_is_said(monkeypatch):
    run = Run("r", "ingest")
    Meter().finish(run, Config(), CAPACITY, "local")
    assert (run.costs, run.notes) == (Costs(), [])
    assert bottleneck.LEAST_SECONDS >= 1
