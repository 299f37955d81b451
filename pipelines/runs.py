"""Runs: what jobs did to a database, how they ended, and how long ago each kind of job last succeeded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance

from fuseid.core.errors import BadInput
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.jobs.costs import split
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.runs import Run
from fuseid.pipelines.store.rows import sql_list
from fuseid.pipelines.store.store import Store

# The jobs that write to a database.
JOBS = (
    "ingest", "fit", "drop", "adopt", "assign", "gate", "promote", "rollback", "remove", "retry", "upgrade", "check",
    "maintain",
)  # fmt: skip
# How a run can have ended. The row of one that failed has the error, too.
ENDS = ("done", "stopped", "killed", "failed")
_COLUMNS = ["run_id", "job", "source", "started_at", "finished_at", "counts", "rejected", "seconds", "outcome"]


@dataclass(frozen=True)
class RunInfo:
    """A row of `runs`. outcome: `running`, `done`, `stopped`, `killed`, or `failed: ` and the error.

    finished_at: None while it runs, and for a killed run. counts: while a run works, and for a killed run, up to its
    last report, with `done` and `left` of the stage in progress. rejected: items by error class. seconds: from start to
    end, or to the last report. stages: seconds, items and items per second of each; where they were measured,
    core-seconds, device-seconds and how busy it was. bottleneck: the stage that was at work most of the time; `start`
    for what comes before the first item, `cores` if that was all cores. busy: see `Costs`. items_per_second: of all
    items that it listed. host, pid: of the process that runs it, None for a run that has ended.
    """

    run_id: str
    job: str
    outcome: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    counts: dict[str, int]
    rejected: dict[str, int]
    items_per_second: float | None
    stages: list[dict[str, Any]]
    source: str | None
    host: str | None
    pid: int | None
    bottleneck: str | None = None
    busy: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LastSuccess:
    """The last run of a job that ended with `done`. age_seconds: since it ended."""

    job: str
    run_id: str
    finished_at: datetime
    age_seconds: float


@dataclass(frozen=True)
class History:
    """runs: newest first. last_success: of each job that ever succeeded, the most recent first."""

    runs: list[RunInfo]
    last_success: list[LastSuccess]

    def stale(self, job: str, limit: timedelta) -> str | None:
        """The line about a job whose last success is longer ago than a limit, or that never succeeded."""
        found = next((each for each in self.last_success if each.job == job), None)
        if found is None:
            return f"no run of {job} has succeeded yet"
        if found.age_seconds <= limit.total_seconds():
            return None
        age = timedelta(seconds=round(found.age_seconds))
        return f"the last successful run of {job}, {found.run_id}, ended {age} ago, more than {limit}"


@dataclass(frozen=True)
class Latest:
    """running: the run at work, if there is one. ended: the last run of each job that has ended, by job. counts: runs
    that have ended, by job and `ENDS`. last_success: as in `History`."""

    running: RunInfo | None
    ended: dict[str, RunInfo]
    counts: dict[tuple[str, str], int]
    last_success: list[LastSuccess]


def runs(uri: str | Path, last: int = 10, jobs: Iterable[str] = ()) -> History:
    """The last runs of a database, by default of all jobs. A run whose process has ended, or has lost the lease, is
    `killed`, also if its row still says `running`.

    Raises BadInput if `last` is below 1 or no job has such a name, StoreError if there is no database.
    """
    if last < 1:
        raise BadInput(f"{option('last')} must be at least 1, got {last}")
    store = Store.open(uri)
    table, every, holder = _read(store)
    wanted = list(jobs)
    names = [*JOBS, *sorted({row["job"] for row in every} - {*JOBS})]
    for name in wanted:
        check_known("job", name, names)
    every.sort(key=lambda row: row["started_at"], reverse=True)
    newest = [row["run_id"] for row in every if not wanted or row["job"] in wanted][:last]
    return History(_infos(table, newest, _running(every, holder), holder), _last_success(every, wanted))


def latest(store: Store) -> Latest:
    """The last run of each job, and the one at work."""
    table, every, holder = _read(store)
    every.sort(key=lambda row: row["started_at"], reverse=True)
    running, newest = _running(every, holder), dict[str, str]()
    counts: Counter[tuple[str, str]] = Counter()
    for row in every:
        if row["run_id"] != running:
            newest.setdefault(row["job"], row["run_id"])
            counts[row["job"], end_of(row["outcome"])] += 1
    names = [*newest.values(), *([running] if running else [])]
    infos = {info.run_id: info for info in _infos(table, names, running, holder)}
    ended = {job: infos[name] for job, name in newest.items()}
    return Latest(infos[running] if running else None, ended, dict(counts), _last_success(every, []))


def end_of(outcome: str) -> str:
    """One of `ENDS`; a run of another process that says that it is running was killed."""
    return "killed" if outcome == "running" else outcome.partition(":")[0]


def _running(every: list[dict[str, Any]], holder: dict[str, Any] | None) -> str | None:
    """The id of the run at work. every: the newest first."""
    return next((row["run_id"] for row in every if row["outcome"] == "running"), None) if holder else None


def _infos(
    table: lance.LanceDataset, names: list[str], running: str | None, holder: dict[str, Any] | None
) -> list[RunInfo]:
    rows = table.to_table(columns=_COLUMNS, filter=f"run_id IN ({sql_list(names)})").to_pylist() if names else []
    found = {row["run_id"]: row for row in rows}
    return [_info(found[name], holder if name == running else None) for name in names]


def _read(store: Store) -> tuple[lance.LanceDataset, list[dict[str, Any]], dict[str, Any] | None]:
    """-> (the table, its rows without what a run did, the holder of the lease if a run is at work)"""
    killed: set[str] = set()
    while True:
        table = store.dataset("runs")
        every = table.to_table(columns=["run_id", "job", "started_at", "finished_at", "outcome"]).to_pylist()
        running = {row["run_id"] for row in every if row["outcome"] == "running"}
        if running <= killed:
            return table, every, None
        holder = Lease(store).live()
        if holder is not None:
            return table, every, holder
        # A run writes how it ended before it releases the lease. Those that are still `running` when the rows are read
        # again were killed.
        killed = running


def _info(row: dict[str, Any], holder: dict[str, Any] | None) -> RunInfo:
    seconds, costs = split(json.loads(row["seconds"]))
    rejected = Counter(json.loads(row["rejected"]))
    run = Run(row["run_id"], row["job"], json.loads(row["counts"]), rejected, seconds, costs)
    is_over = row["outcome"] != "running"
    took = seconds.get("total", 0.0)
    if row["finished_at"] is not None:
        took = (row["finished_at"] - row["started_at"]).total_seconds()
    items = run.counts.get("listed", run.counts.get("assigned", run.counts.get("done", 0)))
    return RunInfo(
        run_id=row["run_id"], job=row["job"],
        outcome=row["outcome"] if is_over or holder is not None else "killed",
        started_at=row["started_at"], finished_at=row["finished_at"], seconds=round(took, 3), counts=run.counts,
        rejected=dict(run.rejected), items_per_second=round(items / took, 1) if items and took > 0 else None,
        stages=run.stages(), source=row["source"],
        host=None if is_over or holder is None else holder["host"].partition("/")[0],
        pid=None if is_over or holder is None else holder["pid"],
        bottleneck=costs.busiest, busy=costs.busy,
    )  # fmt: skip


def _last_success(every: list[dict[str, Any]], wanted: list[str]) -> list[LastSuccess]:
    newest: dict[str, dict[str, Any]] = {}
    for row in every:
        if row["outcome"] == "done" and (not wanted or row["job"] in wanted):
            known = newest.setdefault(row["job"], row)
            newest[row["job"]] = max(known, row, key=lambda one: one["finished_at"])
    now = datetime.now(UTC)
    found = [
        LastSuccess(job, row["run_id"], row["finished_at"], round((now - row["finished_at"]).total_seconds(), 1))
        for job, row in newest.items()
    ]
    return sorted(found, key=lambda each: each.age_seconds)
