"""A backup that is made while a job stands at a step is as a database whose job was killed there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuseid.core.config import Config
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.restore import restore

from .exactly_once import Before, Drivers, State, copied, violations, wait_for

STEPS = [
    ("ingest", "wave.contents", 2), ("ingest", "wave.removed", 1), ("ingest", "wave.rejected", 1),
    ("ingest", "prune.removed", 1), ("ingest", "columns.written", 1), ("ingest", "assign.appended", 1),
    ("ingest", "assign.projected", 1), ("ingest", "index.compacted", 1), ("fit", "fit.champion", 1),
    ("fit", "assign.appended", 1), ("promote", "promote.champion", 1),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step", "nth"), STEPS)
def test_a_backup_made_at_any_step_goes_on_like_the_database(
    name: str, step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs[name], db)
    job = drivers.start(before.job, db, fault=f"{step}#{nth}=hold", marks=tmp_path, **before.call)
    wait_for(tmp_path / step)
    backup(str(db), str(tmp_path / "backup"))
    (tmp_path / f"{step}.go").touch()
    assert drivers.wait(job).status == 0
    again = tmp_path / "again"
    restore(str(tmp_path / "backup"), str(again))
    assert {damage["where"] for damage in check(str(again), Config())["damages"]} <= {"contents", "rejected"}
    for path in (again, db):
        drivers.finish(before.job, path, **before.call)
    # The original ran the job twice; its second run changed nothing.
    assert violations(State.of(again), before.quiet, before.listed, killed=1) == []
