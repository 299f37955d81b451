"""How long work reports its progress."""

from __future__ import annotations

import pytest

from fuseid.pipelines.jobs import progress as module
from fuseid.pipelines.jobs.progress import Lines, duration, note
from fuseid.pipelines.jobs.runs import Run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_a_line_a_minute_says_what_is_done_how_fast_and_what_is_left(clock, caplog):
    caplog.set_level("INFO", logger="fuseid.progress")
    lines = Lines()
    lines.begin("copy", 4000)
    for _ in range(180):
        clock[0] += 1
        lines.advance("copy", 10)
    assert caplog.messages == [
        "copy: 600 of 4,000, 10.0/s, about 6 min left",
        "copy: 1,200 of 4,000, 10.0/s, about 5 min left",
        "copy: 1,800 of 4,000, 10.0/s, about 4 min left",
    ]


def test_short_work_logs_nothing_and_a_total_may_be_unknown(clock, caplog):
    caplog.set_level("INFO", logger="fuseid.progress")
    lines = Lines()
    lines.begin("read", None)
    clock[0] += 59
    lines.advance("read", 5)
    assert caplog.messages == []
    clock[0] += 1
    lines.advance("read", 1)
    assert caplog.messages == ["read: 6, 0.1/s"]
    note(lines, "about an hour")
    assert caplog.messages[1:] == ["about an hour"]


def test_the_rate_is_that_of_the_last_minute(clock, caplog):
    """What is unchanged passes fast, and says nothing about the rest."""
    caplog.set_level("INFO", logger="fuseid.progress")
    lines = Lines()
    lines.begin("ingest", 10_000)
    for step in (9_000, 60):
        clock[0] += 60
        lines.advance("ingest", step)
    assert caplog.messages[-1] == "ingest: 9,060 of 10,000, 1.0/s, about 16 min left"


def test_a_run_says_what_it_does_also_without_progress(clock):
    run = Run("r", "fit", counts={"rejected": 1200})
    assert run.line() == "begins, 1,200 rejected"
    progress = run.shown_by(None)
    progress.begin("assign", 100)
    clock[0] += 10
    progress.advance("assign", 20)
    assert run.line() == "assign 20 of 100, 2.0/s, about 40 s left, 1,200 rejected"
    assert run.so_far() == {"rejected": 1200, "done": 20, "left": 80}
    with run.timed("maintain"):
        clock[0] += 600
        assert run.line() == "maintain, 10 min so far, 1,200 rejected"


def test_a_run_passes_its_progress_on_but_not_to_lines_of_the_log(clock, caplog):
    caplog.set_level("INFO", logger="fuseid.progress")
    seen = []

    class Shown:
        def begin(self, stage, total):
            seen.append((stage, total))

        def advance(self, stage, done):
            seen.append((stage, done))

    for progress in (Shown(), Lines(0)):
        run = Run("r", "fit").shown_by(progress)
        with run.timed("fit"):
            run.begin("fit", 2)
            run.advance("fit", 1)
    assert seen == [("fit", None), ("fit", 2), ("fit", 1)]
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_durations_are_rounded_for_people(seconds, text):
    assert duration(seconds) == text
