"""Metrics: what they say of the last run of each job, of a run at work, of totals and indexes."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from fuseid.core.config import Config
from fuseid.core.errors import FingerprintMismatch, NoDatabase
from fuseid.pipelines.jobs.runs import exclusive_job
from fuseid.pipelines.metrics import MOST_CLASSES, Metric, metrics
from fuseid.pipelines.runs import runs
from fuseid.pipelines.store.indexes import about_rows_outside, rows_outside
from fuseid.pipelines.store.store import Store


def values(found: list[Metric], name: str) -> Any:
    """The samples of a metric by its labels without `db`: a string for one label, a number for none."""
    samples = next((metric.samples for metric in found if metric.name == f"fuseid_{name}"), {})
    short = {labels[1:]: value for labels, value in samples.items()}
    if short.keys() == {()}:
        return short[()]
    return {labels[0] if len(labels) == 1 else labels: value for labels, value in short.items()}


def test_the_last_run_of_each_job_and_the_totals(workspace):
    workspace.ingest([*workspace.captions(12), {"content_id": "bad", "uri": "nowhere.png"}])
    workspace.fit()
    with pytest.raises(FingerprintMismatch):
        workspace.ingest(workspace.captions(3), config=workspace.settings(clip={"precision": "fp16"}))
    found = metrics(workspace.uri())
    fit, good = runs(workspace.uri()).runs[1:]
    assert (values(found, "items"), values(found, "ids"), values(found, "rejected_items")) == (12, 12, 1)
    assert values(found, "database_info") == {(version("fuseid"), "4"): 1}
    assert values(found, "run_in_progress") == {"ingest": 0, "fit": 0}
    ends = {("ingest", "done"): 1, ("ingest", "failed"): 1, ("fit", "done"): 1}
    assert {labels: count for labels, count in values(found, "runs_total").items() if count} == ends
    outcomes = values(found, "last_run_outcome")
    assert {labels for labels, value in outcomes.items() if value} == {("ingest", "failed"), ("fit", "done")}
    assert len(outcomes) == 8
    assert values(found, "last_run_items")["fit", "assigned"] == 12
    assert values(found, "last_run_stage_seconds").keys() >= {("fit", "fit"), ("fit", "assign")}
    assert values(found, "last_run_duration_seconds")["fit"] == fit.seconds
    assert values(found, "last_success_timestamp_seconds")["ingest"] == good.finished_at.timestamp()
    assert 0 < values(found, "last_success_age_seconds")["fit"] < 600
    assert set(values(found, "rows_outside_index").values()) == {0}
    assert {labels[0] for metric in found for labels in metric.samples} == {workspace.uri()}
    assert {metric.labels[0] for metric in found} == {"db"}


def test_items_by_outcome_and_error_classes(workspace):
    workspace.ingest([*workspace.captions(3), {"content_id": "bad", "uri": "nowhere.png"}])
    found = metrics(workspace.uri(), "catalogue")
    items = values(found, "last_run_items")
    assert (items["ingest", "listed"], items["ingest", "committed"], items["ingest", "rejected"]) == (4, 3, 1)
    assert values(found, "last_run_rejected_items") == {("ingest", "MissingFile"): 1}
    assert values(found, "last_run_items_per_second")["ingest"] > 0
    assert values(found, "last_run_stage_core_seconds")["ingest", "encode"] > 0
    busy = values(found, "last_run_stage_busy_ratio")
    assert {"start", "fetch", "decode", "encode", "commit", "cores"} == {stage for _, stage in busy}
    assert all(0 <= share <= 1 for share in busy.values())
    assert {labels[0] for metric in found for labels in metric.samples} == {"catalogue"}


def test_error_classes_are_bounded(tmp_path):
    with exclusive_job(Store.create(tmp_path), "ingest", Config()) as run:
        run.rejected.update({f"Error{n:02d}": n for n in range(1, MOST_CLASSES + 4)})
    found = values(metrics(tmp_path), "last_run_rejected_items")
    assert len(found) == MOST_CLASSES + 1
    assert found["ingest", "other"] == 1 + 2 + 3
    assert found["ingest", f"Error{MOST_CLASSES + 3}"] == MOST_CLASSES + 3


def test_a_run_at_work_says_how_far_it_is(bare, cluster):
    seen = []

    def look(waves: int) -> None:
        """Waits until a report has come since this wave."""
        for _ in range(1000):
            found = metrics(bare.uri())
            if values(found, "run_items").get(("ingest", "committed")) == 32 * waves:
                break
            time.sleep(0.02)
        seen.append(found)

    config = bare.settings(clip=None, run={"report_seconds": 0.02, "wave_vectors": 32})
    bare.ingest_vectors(cluster(64), config=config, after_wave=look)
    for found in seen:
        assert values(found, "run_in_progress") == {"ingest": 1}
        assert values(found, "run_done_items")["ingest"] + values(found, "run_left_items")["ingest"] == 64
        started = values(found, "run_start_timestamp_seconds")["ingest"]
        assert started < values(found, "run_report_timestamp_seconds")["ingest"] < started + 600
        assert values(found, "last_run_outcome") == values(found, "last_success_timestamp_seconds") == {}
    found = metrics(bare.uri())
    assert values(found, "run_in_progress") == {"ingest": 0}
    assert values(found, "run_items") == values(found, "run_done_items") == {}
    assert values(found, "last_run_items")["ingest", "committed"] == 64


def test_a_killed_run_is_neither_at_work_nor_a_success(tmp_path, killed_job):
    killed_job(tmp_path / "db", "run.counts['committed'] = 7; time.sleep(0.3)")
    found = metrics(tmp_path / "db")
    assert values(found, "run_in_progress") == {"ingest": 0}
    assert values(found, "runs_total")["ingest", "killed"] == values(found, "last_run_outcome")["ingest", "killed"] == 1
    assert values(found, "last_run_items") == {("ingest", "committed"): 7}
    assert values(found, "last_run_end_timestamp_seconds") == values(found, "last_success_timestamp_seconds") == {}


def test_an_empty_database_has_totals_and_nothing_of_runs(tmp_path):
    Store.create(tmp_path / "db")
    found = metrics(tmp_path / "db")
    assert [metric.name for metric in found] == [
        "fuseid_database_info", "fuseid_items", "fuseid_ids", "fuseid_rejected_items", "fuseid_rows_outside_index"
    ][: len(found)]  # fmt: skip
    assert values(found, "items") == 0
    with pytest.raises(NoDatabase):
        metrics(tmp_path / "nowhere")


def test_rows_outside_are_counted_exactly_when_few_and_by_a_sample_when_many(tmp_path):
    def rows(first: int, count: int, present: int) -> pa.Table:
        """Each `present`-th row has a vector."""
        vectors = [[float(at), 1.0] if at % present == 0 else None for at in range(first, first + count)]
        ids = [f"v{at}" for at in range(first, first + count)]
        return pa.table({"content_id": ids, "fused": pa.array(vectors, pa.list_(pa.float32(), 2))})

    path = str(tmp_path / "table.lance")
    lance.write_dataset(rows(0, 300, 1), path)
    dataset = lance.dataset(path)
    dataset.create_scalar_index("content_id", "BTREE")
    dataset.create_index("fused", "IVF_FLAT", num_partitions=1)
    lance.write_dataset(rows(300, 200, 2), path, mode="append")
    lance.write_dataset(rows(500, 400, 4), path, mode="append")
    dataset = lance.dataset(path)
    keys, vectors = dataset.describe_indices()
    assert [rows_outside(dataset, index) for index in (keys, vectors)] == [600, 200]
    assert [about_rows_outside(dataset, index) for index in (keys, vectors)] == [600, 200]
    assert about_rows_outside(dataset, keys, most=10) == 600
    assert np.isclose(about_rows_outside(dataset, vectors, most=120), 200, rtol=0.3)
