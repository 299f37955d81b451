"""Drift of a database: recorded by every ingest, and noted only beyond its limits."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from fuseid.apps.report_page import write_report_page
from fuseid.pipelines.assignment.drift import drift_history
from fuseid.pipelines.reports.document import report

CENTRES = np.random.default_rng(99).normal(size=(6, 8)) * 2
# Codebooks small enough that a tenth of the items can be held out.
FIT = {"tokenizer": {"codebook_sizes": [5, 3], "iterations": 5}}


def items(prefix: str, count: int, centres=slice(0, 5), seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    chosen = CENTRES[centres]
    return {
        f"{prefix}{i:04d}": (chosen[i % len(chosen)] + 0.3 * generator.normal(size=8)).astype(np.float32)
        for i in range(count)
    }


def ingest(workspace, vectors, **more):
    """In one wave: what the runs record is of all new items, however they were committed."""
    return workspace.ingest_vectors(
        vectors, config=workspace.settings(clip=None, run={"wave_rows": 2000, "wave_vectors": 2000}), **more
    )


@pytest.fixture(scope="module")
def fitted(make_workspace, tmp_path_factory):
    """1500 items with IDs, made once."""
    workspace = make_workspace(tmp_path_factory.mktemp("drift"))
    ingest(workspace, items("old", 1500))
    workspace.fit(clip=None, **FIT)
    return workspace


@pytest.fixture
def older(fitted, bare):
    shutil.copytree(fitted.uri(), bare.uri())
    return bare


def runs(workspace) -> list[dict]:
    rows = workspace.store().dataset("runs").to_table().to_pylist()
    return sorted((row for row in rows if row["job"] == "ingest"), key=lambda row: row["started_at"])


def test_similar_new_items_are_recorded_without_a_note(older):
    run = ingest(older, items("new", 1000, seed=1))
    assert not any("drift" in note for note in run.notes)
    kept = json.loads(runs(older)[-1]["drift"])
    assert kept["use"]["items"] == 1000
    assert kept["figures"]["error_ratio"] == pytest.approx(1, abs=0.15)
    assert kept["reasons"] == []
    assert runs(older)[0]["drift"] is None


def test_a_new_theme_is_noted_with_figures_and_the_remedy(older):
    run = ingest(older, items("new", 1000, slice(5, 6), seed=1))
    (said,) = [note for note in run.notes if note.startswith("drift")]
    assert "of the last 1000 new items" in said
    assert "times as badly as those held out from the fit" in said
    assert "first codes differ from the fit's by" in said
    assert f"`fuseid fit --db {older.uri()}`" in said
    assert "\n" not in said


def test_a_report_lists_drift_and_draws_it(older, tmp_path):
    quiet = report(older.uri())
    assert (quiet["tokenizers"][0]["drift"], quiet["tokenizers"][0]["fit"]["held_out"]) == ([], 160)
    ingest(older, items("new", 1000, slice(5, 6), seed=1))
    document = report(older.uri())
    (run,) = document["tokenizers"][0]["drift"]
    (found,) = [row for row in document["tokenizers"][0]["stands_out"] if row["rule"] == "drift"]
    assert run["reasons"][0] in found["text"]
    write_report_page(document, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h3>Drift</h3>" in page
    assert f"{run['run_id']}: {run['figures']['error_ratio']:.2f}, 1,000 items" in page


@pytest.mark.slow
def test_small_runs_are_judged_together(older):
    strange = list(items("new", 1200, slice(5, 6), seed=1).items())
    notes = []
    for start in range(0, 1200, 300):
        run = ingest(older, dict(strange[start : start + 300]))
        notes.append([note.split(":")[0] for note in run.notes if note.startswith("drift")])
    assert notes == [[], [], [], ["drift of the last 1200 new items"]]
    history = drift_history(older.store(), older.store().setting("champion"))
    assert [(entry["items"], bool(entry["figures"])) for entry in history] == [(300, False)] * 3 + [(300, True)]


def test_a_run_without_new_items_records_no_drift(older):
    ingest(older, items("old", 1500))
    assert runs(older)[-1]["drift"] is None


@pytest.mark.slow
def test_a_tokenizer_fitted_on_the_new_items_starts_without_drift(older):
    ingest(older, items("new", 1000, slice(5, 6), seed=1))
    older.fit(clip=None, **{"tokenizer": {**FIT["tokenizer"], "codebook_sizes": [6, 3]}})
    from fuseid.pipelines.promote import promote

    candidate = older.candidate()
    promote(older.uri(), candidate, older.settings(clip=None))
    run = ingest(older, items("more", 1000, slice(0, 6), seed=2))
    assert not any("drift" in note for note in run.notes)
    assert len(drift_history(older.store(), candidate)) == 1


def test_a_fit_on_few_items_holds_no_vectors_out_and_reports_no_drift(bare):
    ingest(bare, items("old", 40))
    bare.fit(clip=None, **FIT)
    run = ingest(bare, items("new", 1100, slice(5, 6), seed=1))
    assert not any("drift" in note for note in run.notes)
    assert json.loads(runs(bare)[-1]["drift"]).keys() == {"tokenizer_id", "use"}
