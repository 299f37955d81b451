"""The history of runs: how jobs ended, what they did, and how long ago each kind of job last succeeded."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, FingerprintMismatch
from fuseid.pipelines.jobs import runs as jobs
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.runs import exclusive_job
from fuseid.pipelines.runs import JOBS, runs
from fuseid.pipelines.store.store import Store

OFTEN = {"run": {"report_seconds": 0.02}}


def test_the_newest_run_is_first_and_each_job_has_its_last_success(workspace):
    done = workspace.ingest([*workspace.captions(3), {"content_id": "bad", "uri": "nowhere.png"}])
    with pytest.raises(FingerprintMismatch):
        workspace.ingest(workspace.captions(3), config=workspace.settings(clip={"precision": "fp16"}))
    found = runs(workspace.uri())
    failed, good = found.runs
    assert (good.run_id, good.job, good.outcome) == (done.run_id, "ingest", "done")
    assert (good.counts["listed"], good.counts["committed"], good.counts["rejected"]) == (4, 3, 1)
    assert good.rejected == {"MissingFile": 1}
    assert good.items_per_second == pytest.approx(4 / good.seconds, rel=0.02)
    assert {"decode", "encode", "commit", "total"} <= {row["stage"] for row in good.stages}
    assert failed.outcome.startswith("failed: ")
    assert (failed.host, failed.pid, good.pid) == (None, None, None)
    (last,) = found.last_success
    assert (last.job, last.run_id, last.finished_at) == ("ingest", good.run_id, good.finished_at)
    assert 0 <= last.age_seconds < 600
    assert runs(workspace.uri(), last=1).runs == [failed]


def test_a_job_is_late_when_its_last_success_is_too_old_or_there_is_none(fitted):
    found = runs(fitted.uri(), jobs=["fit", "adopt"])
    assert [run.job for run in found.runs] == ["fit"]
    assert found.stale("fit", timedelta(hours=1)) is None
    assert found.runs[0].run_id in found.stale("fit", timedelta(seconds=-1))
    assert found.stale("adopt", timedelta(days=1)) == "no run of adopt has succeeded yet"
    with pytest.raises(BadInput, match="unknown job 'ingets'; did you mean ingest"):
        runs(fitted.uri(), jobs=["ingets"])
    with pytest.raises(BadInput, match="last= must be at least 1"):
        runs(fitted.uri(), last=0)


def test_while_a_run_works_its_row_says_how_far_it_is_and_in_the_end_only_what_it_did(bare, cluster, caplog):
    seen = []

    def look(waves: int) -> None:
        """Waits until a report has come since this wave."""
        for _ in range(1000):
            (run,) = runs(bare.uri()).runs
            if run.counts.get("committed") == min(32 * waves, 70):
                break
            time.sleep(0.02)
        seen.append(run)

    caplog.set_level("INFO", logger="fuseid.progress")
    config = bare.settings(clip=None, run={"report_seconds": 0.02, "wave_vectors": 32})
    bare.ingest_vectors(cluster(70), config=config, after_wave=look)
    assert {run.outcome for run in seen} == {"running"}
    assert {run.pid for run in seen} == {os.getpid()}
    assert [run.counts["committed"] for run in seen] == [32, 64, 70]
    for run in seen:
        assert run.counts["done"] + run.counts["left"] == 70
        assert run.seconds > 0
    assert any("ingest 32 of 70" in line and "/s" in line for line in caplog.messages)
    assert all(line.startswith(f"run {seen[0].run_id}: ") for line in caplog.messages)
    (run,) = runs(bare.uri()).runs
    assert run.outcome == "done"
    assert run.counts.keys().isdisjoint({"done", "left"})


def test_a_killed_run_is_never_shown_as_running(tmp_path, killed_job):
    db = tmp_path / "db"
    killed_job(db, "run.counts['committed'] = 7; run.begin('ingest', 10); run.advance('ingest', 8); time.sleep(1)")
    assert Store.open(db).dataset("runs").to_table()["outcome"].to_pylist() == ["running"]
    (run,) = runs(db).runs
    assert (run.outcome, run.finished_at, run.pid) == ("killed", None, None)
    # What its last report said.
    assert run.counts == {"committed": 7, "done": 8, "left": 2}
    assert 0 < run.seconds < 60
    # Also while another run is at work, and after it.
    with exclusive_job(Store.open(db), "fit", Config()) as now:
        at_work, killed = runs(db).runs
        assert (at_work.run_id, at_work.outcome, at_work.pid) == (now.run_id, "running", os.getpid())
        assert at_work.host == os.uname().nodename
        assert killed.outcome == "killed"
    assert [each.outcome for each in runs(db).runs] == ["done", "killed"]


def test_a_run_that_has_lost_the_lease_is_killed_and_its_reports_do_not_bring_it_back(tmp_path):
    store = Store.create(tmp_path / "db")
    config = Config.model_validate(OFTEN)
    with Lease(store), jobs.recorded(store, "ingest", config) as run:
        other = Store.open(tmp_path / "db")
        jobs._tidy(other)  # what the run that takes over does first
        version = other.dataset("runs").version
        run.counts["committed"] = 1
        while other.dataset("runs").version < version + 3:
            time.sleep(0.02)
        (row,) = other.dataset("runs").to_table().to_pylist()
        assert (row["outcome"], row["counts"]) == ("killed", "{}")


def test_a_night_of_reports_leaves_few_versions_and_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "KEEP_RUN_VERSIONS", timedelta(seconds=0.2))
    store = Store.create(tmp_path / "db")
    begun = store.dataset("runs").version
    with exclusive_job(store, "ingest", Config.model_validate({"run": {"report_seconds": 0.001}})) as run:
        run.begin("ingest", 10)
        while store.dataset("runs").version < begun + 60:
            time.sleep(0.02)
    table = store.dataset("runs")
    assert table.count_rows() == len(table.get_fragments()) == 1
    assert len(table.versions()) < 50
    assert json.loads(table.to_table()["counts"].to_pylist()[0]) == {}


def test_rows_of_many_runs_are_merged(tmp_path):
    store = Store.create(tmp_path / "db")
    for _ in range(jobs._FRAGMENTS + 2):
        with jobs.recorded(store, "retry", Config()):
            pass
    assert store.dataset("runs").count_rows() == jobs._FRAGMENTS + 2
    assert len(store.dataset("runs").get_fragments()) < 10


def test_every_job_that_writes_can_be_asked_for():
    sources = Path(jobs.__file__).parents[1].rglob("*.py")
    named = re.compile(r"(?:writing|exclusive)_job\(store, \"(\w+)\"")
    assert {name for path in sources for name in named.findall(path.read_text(encoding="utf-8"))} <= {*JOBS}
