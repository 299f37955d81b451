"""One row in `runs` per job, written when it starts and again when it ends, for whatever reason."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from fuseid.core.config import Config, read_stored
from fuseid.core.errors import Stopped, StoreError
from fuseid.core.faults import reached
from fuseid.core.reasons import reason
from fuseid.core.schemas import RUNS
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.stopping import ending, stopped
from fuseid.pipelines.store.integrity import check_integrity, explained_errors
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store

log = logging.getLogger("fuseid")


@dataclass
class Run:
    """What a job records while it runs."""

    run_id: str
    job: str
    counts: dict[str, int] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)  # items by error class
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    drift: dict[str, Any] | None = None
    passed_over: dict[str, int] = field(default_factory=dict)  # what the source does not read, by kind

    def pass_over(self, counts: Mapping[str, int]) -> None:
        self.passed_over = dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
        if counts:
            self.counts["passed_over"] = sum(counts.values())

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of a block to those of a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def stages(self) -> list[dict[str, Any]]:
        """For each stage its seconds, the items that went through it, and items per second; `total` is the last.

        decode and encode run in several processes; their seconds are the sum over all processes.
        """
        committed, assigned = self.counts.get("committed", 0), self.counts.get("assigned", 0)
        finished = committed + self.counts.get("rejected", 0)
        total = self.counts.get("listed", assigned)
        items = {
            "decode": finished,
            "encode": committed,
            "read": total,
            "commit": finished,
            "assign": assigned,
            "total": total,
        }
        rows = []
        for stage in sorted(self.seconds, key=lambda name: name == "total"):
            seconds, count = self.seconds[stage], items.get(stage, 0)
            speed = round(count / seconds, 1) if count and seconds > 0.005 else None
            rows.append({"stage": stage, "seconds": round(seconds, 3), "items": count, "items_per_second": speed})
        return rows

    def device_seconds_per_thousand(self) -> float | None:
        """Seconds that the encoders took for a thousand items, on any device; None if nothing was encoded."""
        encoded = self.counts.get("committed", 0)
        return round(1000 * self.seconds["encode"] / encoded, 3) if encoded and "encode" in self.seconds else None

    def summary(self) -> dict[str, object]:
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        return {
            "run_id": self.run_id, "job": self.job, "counts": self.counts, "rejected": dict(self.rejected),
            "seconds": seconds, "stages": self.stages(),
            "device_seconds_per_thousand_items": self.device_seconds_per_thousand(), "notes": self.notes,
            "passed_over": self.passed_over,
            "drift": None if self.drift is None else self.drift.get("figures"),
        }  # fmt: skip


def run_of(store: Store, run_id: str) -> tuple[Config, str | None]:
    """The configuration of a run, and the folder from which its relative uris started. Raises StoreError if there is no
    such run."""
    rows = store.dataset("runs").to_table(columns=["config", "source"], filter=f"run_id = {sql_string(run_id)}")
    if not rows.num_rows:
        raise StoreError(f"{store.uri} has no run {run_id}, which its rows name; was the table altered?")
    row = rows.to_pylist()[0]
    return read_stored(Config, json.loads(row["config"]), f"run {run_id} of {store.uri}"), row["source"]


@contextmanager
def writing_job(store: Store, job: str, config: Config, source: str | None = None) -> Iterator[Run]:
    """Every job that writes runs inside this: it is the only one, the database has the present schema version, and it
    was checked.

    source: see `recorded`. Raises LeaseHeld while another job writes, StoreError for a damaged database or one of
    another schema version.
    """
    # Here, so that not even the lease of another version is written to; and again under the lease, where no other
    # process can upgrade the database.
    store.check_current()
    with exclusive_job(store, job, config, source) as run:
        store.check_current()
        check_integrity(store)
        yield run


@contextmanager
def exclusive_job(store: Store, job: str, config: Config, source: str | None = None) -> Iterator[Run]:
    """Inside, this job holds the lease and has a row in `runs`. Raises LeaseHeld while another job writes."""
    with (
        explained_errors(store.uri),
        Lease(store, config.run.lease_seconds),
        recorded(store, job, config, source) as run,
    ):
        yield run


@contextmanager
def recorded(store: Store, job: str, config: Config, source: str | None = None) -> Iterator[Run]:
    """To be used under the lease: the job's row says `running` until the block ends, then `done`, `stopped`, or the
    error that ended it.

    A row that another run has left at `running` becomes `killed`, since that run no longer holds the lease. source: for
    a job that reads media, the folder from which relative uris start.
    """
    started = datetime.now(UTC)
    run = Run(f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", job)
    before = store.versions()

    def write(outcome: str) -> None:
        row = {
            "run_id": run.run_id, "job": job, "source": source, "started_at": started,
            "finished_at": None if outcome == "running" else datetime.now(UTC),
            "config": config.model_dump_json(), "counts": json.dumps(run.counts),
            "rejected": json.dumps(run.rejected), "seconds": json.dumps(run.seconds),
            "device_seconds": run.seconds.get("encode", 0.0),
            "drift": None if run.drift is None else json.dumps(run.drift), "versions_before": json.dumps(before),
            "versions_after": None if outcome == "running" else json.dumps(store.versions()), "outcome": outcome,
        }  # fmt: skip
        store.upsert("runs", pa.Table.from_pylist([row], schema=RUNS), key="run_id")

    try:
        _mark_killed(store)
        write("running")
        reached("run.begun")
        log.info("run %s: %s of %s begins", run.run_id, job, store.uri)
        yield run
        reached("run.ending")
        with ending():
            write("done")
    except BaseException as error:
        outcome = _outcome(error)
        log.info("run %s: %s", run.run_id, outcome)
        # The error to report is the one that ended the run, such as a full disk, not a failure to write its row.
        with ending(), suppress(OSError, RuntimeError, ValueError):
            write(outcome)
        raise
    log.info("run %s: done, %s", run.run_id, json.dumps(run.counts))


def _outcome(error: BaseException) -> str:
    if stopped() or isinstance(error, Stopped | KeyboardInterrupt | SystemExit):
        return "stopped"
    return f"failed: {reason(error)}"


def _mark_killed(store: Store) -> None:
    running = "outcome = 'running'"
    runs = store.dataset("runs")
    if runs.count_rows(running):
        store.update("runs", {"outcome": "'killed'"}, running)
