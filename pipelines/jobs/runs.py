"""One row in `runs` per job, written when it starts, from time to time while it works, and again when it ends, for
whatever reason."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from fuseid.core import platform
from fuseid.core.config import Config, read_stored
from fuseid.core.errors import FuseidError, Stopped, StoreError
from fuseid.core.faults import reached
from fuseid.core.reasons import reason
from fuseid.core.schemas import RUNS
from fuseid.pipelines.jobs import present
from fuseid.pipelines.jobs.costs import Costs
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.jobs.progress import Lines, Progress, Stages, duration
from fuseid.pipelines.jobs.progress import log as progress_log
from fuseid.pipelines.jobs.stopping import ending, stopped
from fuseid.pipelines.store.generations import settle
from fuseid.pipelines.store.indexes import KEEP_RUN_VERSIONS, remove_old_versions
from fuseid.pipelines.store.integrity import check_integrity, explained_errors
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store

log = logging.getLogger("fuseid")
# Each run leaves a fragment of one row; from so many on, the next run merges them.
_FRAGMENTS = 64


@dataclass
class Run:
    """What a job records while it runs. tokenizer_id, role: of the tokenizer whose IDs it gave or showed; `champion`
    or `candidate`. partial: counts that grow elsewhere until the job adds them to `counts`."""

    run_id: str
    job: str
    counts: dict[str, int] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)  # items by error class
    seconds: dict[str, float] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)
    notes: list[str] = field(default_factory=list)
    drift: dict[str, Any] | None = None
    passed_over: dict[str, int] = field(default_factory=dict)  # what the source does not read, by kind
    tokenizer_id: str | None = None
    role: str | None = None
    partial: Mapping[str, int] = field(default_factory=dict)
    _shown: Progress | None = None
    _stages: Stages = field(default_factory=Stages)
    _stage: tuple[str, float] = ("", 0.0)  # what it works on, and since when

    def pass_over(self, counts: Mapping[str, int]) -> None:
        self.passed_over = dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
        if counts:
            self.counts["passed_over"] = sum(counts.values())

    @contextmanager
    def timed(self, stage: str, here: bool = True) -> Iterator[None]:
        """Adds the seconds of a block to those of a stage. here: whether this process does the work, and no other, so
        that its core-seconds are those of the stage."""
        self._stage = stage, time.perf_counter()
        if self._shown is not None:
            self._shown.begin(stage, None)
        started, cores = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            if here:
                self.costs.add_cores(stage, time.process_time() - cores)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

    def shown_by(self, progress: Progress | None) -> Run:
        """This run as a `Progress`, which knows how far it is and passes that on. It logs lines itself, so those of
        `progress` are not needed."""
        self._shown = None if isinstance(progress, Lines) else progress
        return self

    def begin(self, stage: str, total: int | None) -> None:
        self._stage = stage, time.perf_counter()
        self._stages.begin(stage, total)
        if self._shown is not None:
            self._shown.begin(stage, total)

    def advance(self, stage: str, done: int) -> None:
        if self._stage[0] != stage:
            self._stage = stage, time.perf_counter()
        self._stages.advance(stage, done)
        if self._shown is not None:
            self._shown.advance(stage, done)

    def so_far(self) -> dict[str, int]:
        """The counts while it works: with `done`, and `left` where that is known, of the stage in progress."""
        counts, stage = {**self.counts, **self.partial}, self._stages.last
        if stage is not None:
            counts["done"] = stage.done
            if stage.total is not None:
                counts["left"] = max(0, stage.total - stage.done)
        return counts

    def line(self) -> str:
        """What it does and how far that is."""
        (name, since), stage = self._stage, self._stages.last
        if stage is not None and stage.name == name:
            text = f"{name} {stage.line()}"
        else:
            text = f"{name or 'begins'}, {duration(time.perf_counter() - since)} so far" if name else "begins"
        failed = self.counts.get("rejected", 0)
        return text + (f", {failed:,} rejected" if failed else "")

    def figures(self) -> dict[str, Any]:
        """What `line` says, for machines."""
        (name, since), stage = self._stage, self._stages.last
        if stage is not None and stage.name == name:
            found = stage.figures()
        else:
            found = {"stage": name or None, "seconds": round(time.perf_counter() - since, 1) if name else None}
        return {**found, "rejected": self.counts.get("rejected", 0)}

    def stages(self) -> list[dict[str, Any]]:
        """For each stage its seconds, the items that went through it, and items per second; `total` is the last. Where
        they were measured, core-seconds, device-seconds, and the share of the time that it was at work.

        decode and encode run in several processes; their seconds are the sum over all processes.
        """
        committed, assigned = self.counts.get("committed", 0), self.counts.get("assigned", 0)
        finished = committed + self.counts.get("rejected", 0)
        total = self.counts.get("listed", assigned)
        items = {
            "decode": finished,
            "encode": committed,
            "read": total,
            "plan": total,
            "commit": finished,
            "assign": assigned,
            "total": total,
        }
        rows = []
        for stage in sorted(self.seconds, key=lambda name: name == "total"):
            seconds, count = self.seconds[stage], items.get(stage, 0)
            speed = round(count / seconds, 1) if count and seconds > 0.005 else None
            cores = sum(self.costs.cores.values()) if stage == "total" else self.costs.cores.get(stage)
            device = self.costs.device.get(stage)
            rows.append(
                {
                    "stage": stage, "seconds": round(seconds, 3), "items": count, "items_per_second": speed,
                    "core_seconds": None if cores is None else round(cores, 3),
                    "core_seconds_per_thousand_items": _per_thousand(cores, count),
                    "device_seconds": None if device is None else round(device, 3),
                    "device_seconds_per_thousand_items": _per_thousand(device, count),
                    "busy": self.costs.busy.get(stage),
                }
            )  # fmt: skip
        return rows

    def device_seconds_per_thousand(self) -> float | None:
        """Seconds that the encoders kept a device busy for a thousand items; None without one, or without items."""
        return _per_thousand(self.costs.device.get("encode"), self.counts.get("committed", 0))

    def summary(self) -> dict[str, object]:
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        return {
            "run_id": self.run_id, "job": self.job, "counts": self.counts, "rejected": dict(self.rejected),
            "seconds": seconds, "stages": self.stages(),
            "device_seconds_per_thousand_items": self.device_seconds_per_thousand(),
            "busy": self.costs.busy, "bottleneck": self.costs.busiest, "notes": self.notes,
            "passed_over": self.passed_over,
            "drift": None if self.drift is None else self.drift.get("figures"),
            "tokenizer_id": self.tokenizer_id, "role": self.role,
        }  # fmt: skip


def _per_thousand(seconds: float | None, items: int) -> float | None:
    return round(1000 * seconds / items, 3) if seconds is not None and items else None


def run_of(store: Store, run_id: str) -> tuple[Config, str | None]:
    """The configuration of a run, and the folder from which its relative uris started. Raises StoreError if there is no
    such run."""
    rows = store.dataset("runs").to_table(columns=["config", "source"], filter=f"run_id = {sql_string(run_id)}")
    if not rows.num_rows:
        raise StoreError(f"{store.uri} has no run {run_id}, which its rows name; was the table altered?")
    row = rows.to_pylist()[0]
    return read_stored(Config, json.loads(row["config"]), f"run {run_id} of {store.uri}"), row["source"]


def is_repeated(store: Store, begun: str | None, run: Run) -> bool:
    """Whether only the same job has run since the run `begun`. Runs in between may have been killed before they could
    record anything, so that there may be several."""
    rows = store.dataset("runs").to_table(columns=["run_id", "job", "started_at"]).to_pylist()
    since = next((row["started_at"] for row in rows if row["run_id"] == begun), None)
    return since is not None and all(row["job"] == run.job for row in rows if row["started_at"] >= since)


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
        settle(store)
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
    error that ended it. Every `run.report_seconds` it is written again, with what is done so far, and a line is logged.

    A row that another run has left at `running` becomes `killed`, since that run no longer holds the lease. source: for
    a job that reads media, the folder from which relative uris start.
    """
    started = datetime.now(UTC)
    run = Run(f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", job)
    if weaker := platform.note():
        run.notes.append(weaker)
    before = store.versions()
    present.begin(run.run_id, job)

    def row(outcome: str, counts: dict[str, int], seconds: dict[str, float]) -> pa.Table:
        ended = outcome != "running"
        values = {
            "run_id": run.run_id, "job": job, "source": source, "started_at": started,
            "finished_at": datetime.now(UTC) if ended else None,
            "config": config.model_dump_json(), "counts": json.dumps(counts),
            "rejected": json.dumps(run.rejected), "seconds": json.dumps({**seconds, **run.costs.stored()}),
            "device_seconds": sum(run.costs.device.values()),
            "drift": None if run.drift is None else json.dumps(run.drift), "versions_before": json.dumps(before),
            "versions_after": json.dumps(store.versions()) if ended else None, "outcome": outcome,
        }  # fmt: skip
        return pa.Table.from_pylist([values], schema=RUNS)

    def write(outcome: str) -> None:
        store.upsert("runs", row(outcome, run.counts, run.seconds), key="run_id")

    def report() -> None:
        figures = run.figures()
        progress_log.info("%s", f"run {run.run_id}: {run.line()}", extra={"figures": figures})
        elapsed = (datetime.now(UTC) - started).total_seconds()
        _rewrite(store, row("running", run.so_far(), {**run.seconds, "total": elapsed}))

    try:
        _tidy(store)
        write("running")
        reached("run.begun")
        log.info("run %s: %s of %s begins", run.run_id, job, store.uri)
        with _repeated(report, config.run.report_seconds):
            yield run
        reached("run.ending")
        with ending():
            write("done")
    except BaseException as error:
        outcome = _outcome(error)
        log.info("run %s: %s", run.run_id, outcome, extra={"figures": {"outcome": outcome}})
        # The error to report is the one that ended the run, such as a full disk, not a failure to write its row.
        with ending(), suppress(OSError, RuntimeError, ValueError):
            write(outcome)
        raise
    figures = {"outcome": "done", "counts": run.counts}
    log.info("run %s: done, %s", run.run_id, json.dumps(run.counts), extra={"figures": figures})


def _outcome(error: BaseException) -> str:
    if stopped() or isinstance(error, Stopped | KeyboardInterrupt | SystemExit):
        return "stopped"
    return f"failed: {reason(error)}"


@contextmanager
def _repeated(report: Callable[[], None], seconds: float) -> Iterator[None]:
    """Inside, `report` is called every so many seconds, in a thread."""
    end = threading.Event()

    def work() -> None:
        while not end.wait(seconds):
            # The store may be unreachable for a moment; the next report tries again.
            with suppress(FuseidError, OSError, RuntimeError, ValueError):
                report()

    thread = threading.Thread(target=work, name="fuseid-report", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _rewrite(store: Store, row: pa.Table) -> None:
    """Replaces the row of a run, unless it says that the run has ended: another run that took over the lease calls this
    one killed."""
    with store.writing("runs") as dataset:
        dataset.merge_insert("run_id").when_matched_update_all("target.outcome = 'running'").execute(row)
    reached("run.reported")
    remove_old_versions(store, "runs", KEEP_RUN_VERSIONS)


def _tidy(store: Store) -> None:
    """Marks what another run has left at `running`, and keeps the table small."""
    running = "outcome = 'running'"
    runs = store.dataset("runs")
    if runs.count_rows(running):
        store.update("runs", {"outcome": "'killed'"}, running)
    if len(runs.get_fragments()) >= _FRAGMENTS:
        with store.writing("runs") as dataset:
            dataset.optimize.compact_files()
        remove_old_versions(store, "runs", KEEP_RUN_VERSIONS)
