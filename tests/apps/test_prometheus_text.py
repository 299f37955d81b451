"""`fuseid runs --prometheus`: Prometheus' own parser and linter read it, and a reader of the file sees a whole one."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fuseid.apps.prometheus_text import prometheus_text, write_whole
from fuseid.pipelines.metrics import Metric, metrics

DATA = Path(__file__).parents[1] / "data"
PROMTOOL = shutil.which("promtool")


def checked(text: str) -> None:
    """promtool finds no fault: neither in the format nor in names and units."""
    if PROMTOOL is not None:
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_labels_and_values_come_back_from_the_parser_of_prometheus():
    labels = 'a "quoted" \\ name\nof two lines'
    found = [
        Metric("fuseid_items", "gauge", "Items.", ("db",), {(labels,): 3.0}),
        Metric("fuseid_runs_total", "counter", "Runs.", ("db", "job"), {(labels, "fit"): 2.0, (labels, "gate"): 0.0}),
    ]
    text = prometheus_text(found)
    one, other = text_string_to_metric_families(text)
    assert [(sample.labels, sample.value) for sample in one.samples] == [({"db": labels}, 3)]
    assert (other.type, [sample.name for sample in other.samples]) == ("counter", ["fuseid_runs_total"] * 2)
    assert [(sample.labels["job"], sample.value) for sample in other.samples] == [("fit", 2), ("gate", 0)]
    checked(text)


def test_the_metrics_of_a_database_of_an_earlier_schema_are_those_of_the_golden():
    text = runpy.run_path(str(DATA / "make_goldens.py"))["metrics_text"]()
    assert text == (DATA / "metrics.prom").read_text(encoding="utf-8")
    checked(text.replace(" AGE", " 1"))


def test_two_databases_have_series_of_their_own(as_text, folder):
    shutil.copytree("db", "other")
    texts = [
        as_text("runs", "--db", "db", "--prometheus"),
        as_text("runs", "--db", "other", "--prometheus", "--name", "books"),
    ]
    series = [
        {(sample.name, *sorted(sample.labels.items())) for family in text_string_to_metric_families(text)
         for sample in family.samples}
        for text in texts
    ]  # fmt: skip
    assert not series[0] & series[1]
    assert {dict(labels)["db"] for _, *labels in series[0]} == {"db"}
    assert {dict(labels)["db"] for _, *labels in series[1]} == {"books"}
    for text in texts:
        checked(text)


def test_the_file_is_replaced_whole_and_readable_by_others(as_text, folder):
    Path("out").mkdir()
    out = Path("out/fuseid.prom")
    out.write_text("former")
    with out.open() as reader:
        assert as_text("runs", "--db", "db", "--prometheus", "--out", out) == ""
        assert reader.read() == "former"  # it was renamed over, not written to
    assert list(text_string_to_metric_families(out.read_text()))
    assert os.listdir("out") == ["fuseid.prom"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prometheus", "--json"], "does not take --json"),
        (["--prometheus", "--job", "fit"], "does not take --job"),
        (["--out", "x.prom"], "--out belongs to --prometheus"),
        (["--name", "x"], "--name belongs to --prometheus"),
        (["--prometheus", "--out", "nowhere/x.prom"], "cannot write --out nowhere/x.prom: "),
    ],
)
def test_wrong_options_are_one_line(fuseid, folder, options, words):
    status, out, err = fuseid("runs", "--db", "db", *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not Path("x.prom").exists()


def test_a_file_that_cannot_be_written_leaves_the_former_one(tmp_path, monkeypatch):
    (tmp_path / "a.prom").write_text("former")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(Exception, match="No space left"):
        write_whole(tmp_path / "a.prom", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.prom", "former")]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_each_alert_fires_when_it_is_to_and_not_otherwise():
    rules = Path(__file__).parents[2] / "deploy" / "prometheus"
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([PROMTOOL, *command], cwd=rules, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_alerts_name_metrics_and_labels_that_there_are():
    defined = {f"fuseid_{name}" for name in re.findall(r"fuseid_(\w+)\{", (DATA / "metrics.prom").read_text())}
    text = (Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    # Those of a run at work are not in the golden.
    named = {*re.findall(r"\bfuseid_\w+", text)} - {"fuseid_run_report_timestamp_seconds"}
    assert named <= defined


def test_the_python_api_has_the_same(made):
    from fuseid import api

    db = made / "db"
    assert [metric.name for metric in api.metrics(db)] == [metric.name for metric in metrics(db)]
