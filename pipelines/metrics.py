"""Metrics: what Prometheus is to know of a database, from its own rows: runs, totals, indexes.

Names and units follow Prometheus' rules (prometheus.io/docs/practices/naming). Every figure is a gauge of the last run
or of now, except the number of runs, which only grows. The label of a job is `job_name`: Prometheus itself sets `job`
on what it scrapes, and would rename ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import lance

from fuseid.pipelines.runs import ENDS, JOBS, Latest, RunInfo, end_of, latest
from fuseid.pipelines.store.indexes import about_rows_outside
from fuseid.pipelines.store.store import Store

# Error classes of a run beyond so many, the least frequent ones, are counted together.
MOST_CLASSES = 20
OTHER_CLASSES = "other"
# The counts of a run that are numbers of items. Others, such as those of indexes, have metrics of their own or none.
ITEM_COUNTS = (
    "listed", "planned", "unchanged", "missing_kept", "rejected_before", "committed", "updated", "rejected",
    "incomplete", "assigned", "adopted", "removed", "removed_unknown", "pruned", "without_id",
)  # fmt: skip
_GAUGE: Literal["gauge"] = "gauge"
_COUNTER: Literal["counter"] = "counter"
# By name: kind, labels beside `db`, help.
DEFINED: Mapping[str, tuple[Literal["gauge", "counter"], tuple[str, ...], str]] = {
    "fuseid_database_info": (_GAUGE, ("version", "schema_version"), "1; the fuseid that wrote this, and the schema."),
    "fuseid_items": (_GAUGE, (), "Items in the database."),
    "fuseid_ids": (_GAUGE, (), "IDs in the ledger, of all tokenizers, also of items that were removed."),
    "fuseid_rejected_items": (_GAUGE, (), "Items in the table of rejected items."),
    "fuseid_rows_outside_index": (_GAUGE, ("table", "index"), "Rows that queries scan, as an index lacks them; about."),
    "fuseid_runs_total": (_COUNTER, ("job_name", "outcome"), "Runs that have ended."),
    "fuseid_run_in_progress": (_GAUGE, ("job_name",), "1 while a run of this job is at work, else 0."),
    "fuseid_run_start_timestamp_seconds": (_GAUGE, ("job_name",), "When the run at work began."),
    "fuseid_run_report_timestamp_seconds": (_GAUGE, ("job_name",), "When the run at work last reported."),
    "fuseid_run_done_items": (_GAUGE, ("job_name",), "Items done in the stage in progress of the run at work."),
    "fuseid_run_left_items": (_GAUGE, ("job_name",), "Items left in the stage in progress of the run at work."),
    "fuseid_run_items": (_GAUGE, ("job_name", "outcome"), "Items of the run at work up to its last report."),
    "fuseid_last_run_start_timestamp_seconds": (_GAUGE, ("job_name",), "When the last run that has ended began."),
    "fuseid_last_run_end_timestamp_seconds": (_GAUGE, ("job_name",), "When it ended; unknown if it was killed."),
    "fuseid_last_run_duration_seconds": (_GAUGE, ("job_name",), "How long it took; if it was killed, to its report."),
    "fuseid_last_run_outcome": (_GAUGE, ("job_name", "outcome"), "1 for how the last run ended, 0 for the other ways."),
    "fuseid_last_run_items": (_GAUGE, ("job_name", "outcome"), "Items of the last run."),
    "fuseid_last_run_rejected_items": (_GAUGE, ("job_name", "error_class"), "Items that the last run rejected."),
    "fuseid_last_run_items_per_second": (_GAUGE, ("job_name",), "Items listed, or given IDs, per second."),
    "fuseid_last_run_stage_seconds": (_GAUGE, ("job_name", "stage"), "Seconds of a stage, added over its processes."),
    "fuseid_last_run_stage_core_seconds": (_GAUGE, ("job_name", "stage"), "Core-seconds of a stage, of all processes."),
    "fuseid_last_run_stage_device_seconds": (_GAUGE, ("job_name", "stage"), "Seconds in which it kept devices busy."),
    "fuseid_last_run_stage_busy_ratio": (_GAUGE, ("job_name", "stage"), "Share of the time that it was at work."),
    "fuseid_last_success_timestamp_seconds": (_GAUGE, ("job_name",), "When the last run that succeeded ended."),
    "fuseid_last_success_age_seconds": (_GAUGE, ("job_name",), "How long ago that was when this was written."),
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """A metric and its samples. kind: `gauge` or `counter`. labels: their names, `db` first. samples: values by the
    values of the labels, in the same order."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    samples: dict[tuple[str, ...], float]


class _Samples:
    def __init__(self, db: str) -> None:
        self._db = db
        self._values: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)

    def set(self, name: str, value: float, *labels: str) -> None:
        assert len(labels) == len(DEFINED[name][1])
        self._values[name][(self._db, *labels)] = float(value)

    def metrics(self) -> list[Metric]:
        return [
            Metric(name, kind, text, ("db", *labels), self._values[name])
            for name, (kind, labels, text) in DEFINED.items()
            if name in self._values
        ]


def metrics(uri: str | Path, name: str | None = None) -> list[Metric]:
    """The metrics of a database now, those without samples left out. Reads no items except some vectors of rows that
    are not in their index yet, and so takes about as long for any number of items.

    name: the value of the label `db`, by which Prometheus distinguishes databases; by default `uri`. Raises StoreError
    if there is no database.
    """
    store = Store.open(uri)
    samples = _Samples(str(uri) if name is None else name)
    samples.set("fuseid_database_info", 1, version("fuseid"), store.schema_version() or "")
    tables = {table: store.newest(table) for table in ("contents", "assignments", "rejected")}
    for metric, table in (("items", "contents"), ("ids", "assignments"), ("rejected_items", "rejected")):
        dataset = tables[table]
        samples.set(f"fuseid_{metric}", 0 if dataset is None else dataset.count_rows())
    for table in ("contents", "assignments"):
        _add_indexes(samples, table, tables[table])
    _add_runs(samples, latest(store))
    return samples.metrics()


def _add_indexes(samples: _Samples, table: str, dataset: lance.LanceDataset | None) -> None:
    if dataset is None:
        return
    for index in dataset.describe_indices():
        samples.set("fuseid_rows_outside_index", about_rows_outside(dataset, index), table, index.name)


def _add_runs(samples: _Samples, found: Latest) -> None:
    running = found.running
    jobs = [*JOBS, *sorted({job for job, _ in found.counts} - {*JOBS})]
    for job in jobs:
        if job in found.ended or (running is not None and running.job == job):
            samples.set("fuseid_run_in_progress", running is not None and running.job == job, job)
        if job in found.ended:
            for outcome in ENDS:
                samples.set("fuseid_runs_total", found.counts.get((job, outcome), 0), job, outcome)
            _add_ended(samples, found.ended[job])
    if running is not None:
        _add_running(samples, running)
    for each in found.last_success:
        samples.set("fuseid_last_success_timestamp_seconds", each.finished_at.timestamp(), each.job)
        samples.set("fuseid_last_success_age_seconds", each.age_seconds, each.job)


def _add_running(samples: _Samples, run: RunInfo) -> None:
    started = run.started_at.timestamp()
    samples.set("fuseid_run_start_timestamp_seconds", started, run.job)
    samples.set("fuseid_run_report_timestamp_seconds", started + run.seconds, run.job)
    for name in ("done", "left"):
        if name in run.counts:
            samples.set(f"fuseid_run_{name}_items", run.counts[name], run.job)
    _add_items(samples, "fuseid_run_items", run)


def _add_ended(samples: _Samples, run: RunInfo) -> None:
    samples.set("fuseid_last_run_start_timestamp_seconds", run.started_at.timestamp(), run.job)
    if run.finished_at is not None:
        samples.set("fuseid_last_run_end_timestamp_seconds", run.finished_at.timestamp(), run.job)
    samples.set("fuseid_last_run_duration_seconds", run.seconds, run.job)
    for outcome in ENDS:
        samples.set("fuseid_last_run_outcome", outcome == end_of(run.outcome), run.job, outcome)
    _add_items(samples, "fuseid_last_run_items", run)
    classes = sorted(run.rejected.items(), key=lambda one: (-one[1], one[0]))
    others = sum(items for _, items in classes[MOST_CLASSES:])
    for name, items in [*classes[:MOST_CLASSES], *([(OTHER_CLASSES, others)] if others else [])]:
        samples.set("fuseid_last_run_rejected_items", items, run.job, name)
    if run.items_per_second is not None:
        samples.set("fuseid_last_run_items_per_second", run.items_per_second, run.job)
    for row in run.stages:
        if row["stage"] != "total":
            samples.set("fuseid_last_run_stage_seconds", row["seconds"], run.job, row["stage"])
            for name in ("core_seconds", "device_seconds"):
                if row[name] is not None:
                    samples.set(f"fuseid_last_run_stage_{name}", row[name], run.job, row["stage"])
    for stage, share in run.busy.items():
        samples.set("fuseid_last_run_stage_busy_ratio", share, run.job, stage)


def _add_items(samples: _Samples, name: str, run: RunInfo) -> None:
    for outcome in ITEM_COUNTS:
        if outcome in run.counts:
            samples.set(name, run.counts[outcome], run.job, outcome)
