"""FUSEID_LOG_FORMAT=json: each line on standard error is one JSON object, however a command ends."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fuseid.apps import logs
from fuseid.pipelines.jobs import present

FUSEID = str(Path(sys.executable).with_name("fuseid"))
JSON = {"FUSEID_LOG_FORMAT": "json"}
VECTORS = ["ingest", "--db", "new", "--vectors", "vectors.npy", "--name", "audio"]


def run(arguments: Sequence[str], folder: Path, **environment: str) -> tuple[int, str, list[dict[str, Any]]]:
    """-> status, standard output, the objects on standard error"""
    done = subprocess.run(
        [FUSEID, *arguments], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, objects(done.stderr)


def objects(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert [*one][:4] == ["time", "level", "message", "command"]
        assert one["time"].endswith("Z")
        assert abs((datetime.now(UTC) - datetime.fromisoformat(one["time"])).total_seconds()) < 600
        assert one["level"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    return found


def hurried(folder: Path) -> Path:
    """A configuration with which reports come often."""
    path = folder / "fuseid.yaml"
    path.write_text(path.read_text() + "run: {report_seconds: 0.01}\n")
    return path


def test_the_lines_of_an_ingest_have_its_run_and_figures_and_the_output_is_unchanged(folder: Path) -> None:
    hurried(folder)
    status, out, lines = run([*VECTORS, "--json"], folder, FUSEID_LOG="INFO", **JSON)
    assert status == 0
    done = json.loads(out)
    assert {(line["command"], line["run_id"], line["job"]) for line in lines} == {("ingest", done["run_id"], "ingest")}
    assert lines[-1]["message"].startswith(f"run {done['run_id']}: done")
    assert (lines[-1]["outcome"], lines[-1]["counts"]) == ("done", done["counts"])
    reports = [line for line in lines if "stage" in line]
    assert reports
    assert all({"stage", "rejected"} <= report.keys() for report in reports)


def test_a_stopped_and_a_killed_run_leave_whole_lines(folder: Path) -> None:
    hurried(folder)
    marks = folder / "marks"
    marks.mkdir()
    fault = {"FUSEID_FAULT_MARKS": str(marks), "FUSEID_LOG": "INFO", **JSON}
    environment = {**os.environ, **fault, "FUSEID_FAULT": "wave.done=hold"}
    process = subprocess.Popen([FUSEID, *VECTORS], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    while not (marks / "wave.done").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    (marks / "wave.done.go").touch()
    lines = objects(process.communicate(timeout=60)[1])
    assert process.returncode == 143
    assert (lines[-1]["level"], lines[-1]["job"]) == ("ERROR", "ingest")
    assert lines[-1]["message"].startswith("stopped by SIGTERM: ")
    (marks / "wave.done").unlink()
    status, _, lines = run([*VECTORS, "--db", "newer"], folder, FUSEID_FAULT="wave.done", **fault)
    assert status == -signal.SIGKILL
    assert any("begins" in line["message"] for line in lines)


@pytest.mark.slow
def test_the_lines_of_an_ingest_on_ray(folder: Path) -> None:
    hurried(folder)
    status, _, lines = run([*VECTORS, "--runner", "ray"], folder, FUSEID_LOG="INFO", **JSON)
    assert status == 0
    assert {line["job"] for line in lines} == {"ingest"}


def test_errors_and_lateness_have_a_level(folder: Path) -> None:
    status, out, (line,) = run(["ingets"], folder, **JSON)
    assert (status, out, line["level"], line["command"]) == (2, "", "ERROR", "ingets")
    assert line["message"].startswith("No such command 'ingets'")
    status, _, (line,) = run(["runs", "--db", "db", "--job", "fit", "--max-age", "0m"], folder, **JSON)
    assert (status, line["level"], line["command"]) == (1, "WARNING", "runs")


def test_a_traceback_is_one_object(folder: Path) -> None:
    status, _, (line,) = run(["export", "tags", "--db", "nowhere"], folder, FUSEID_DEBUG="1", **JSON)
    assert (status, line["level"], line["command"]) == (1, "ERROR", "export tags")
    assert line["message"].startswith("NoDatabase: no database at nowhere")
    assert line["traceback"].startswith("Traceback (most recent call last):\n")


def test_a_wrong_format_is_one_line_of_text(folder: Path) -> None:
    done = subprocess.run(
        [FUSEID, "runs", "--db", "db"], cwd=folder, env={**os.environ, "FUSEID_LOG_FORMAT": "xml"}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown format in FUSEID_LOG_FORMAT 'xml'; there are text, json\n"


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], io.StringIO]]:
    """Begins a command with JSON lines in this process -> what it writes to standard error. To be called in the test:
    pytest replaces standard error when it begins."""
    monkeypatch.setenv("FUSEID_LOG_FORMAT", "json")
    monkeypatch.delenv("FUSEID_LOG", raising=False)
    for module, name in (
        (sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"), (warnings, "showwarning")
    ):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(sys, "argv", ["fuseid", "fit", "--db", "db"])
    monkeypatch.setattr(present, "_run", {})
    everything, progress = logging.getLogger(), logging.getLogger("fuseid.progress")
    handlers, level = [*everything.handlers], progress.level

    def install() -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.install()
        return stream

    yield install
    everything.handlers[:] = handlers
    progress.setLevel(level)


def test_what_other_code_writes_becomes_lines_with_their_level(begin: Callable[[], io.StringIO]) -> None:
    written = begin()
    assert logs.is_json()
    assert not sys.stderr.isatty()
    print("half a ", end="", file=sys.stderr)
    print("line\nand \x1b[1m another", file=sys.stderr)
    print("2026-11-28 09:00:00,123\tWARNING worker.py:1 -- no memory", file=sys.stderr)
    print("\n10%\r50%\r100%\n", file=sys.stderr)
    logging.getLogger("elsewhere").warning("of %s", "theirs")
    logging.getLogger("elsewhere").info("not shown")
    logging.getLogger("fuseid.progress").info("at work", extra={"figures": {"stage": "fit", "done": 3}})
    warnings.showwarning("old", DeprecationWarning, "some.py", 7)
    print("no line end", end="", file=sys.stderr)
    logs.finish()
    lines = objects(written.getvalue())
    assert [(line["level"], line["message"]) for line in lines[:4]] == [
        ("INFO", "half a line"),
        ("INFO", "and \N{REPLACEMENT CHARACTER}[1m another"),
        ("WARNING", "worker.py:1 -- no memory"),
        ("INFO", "100%"),
    ]
    assert (lines[4]["level"], lines[4]["message"], lines[4]["logger"]) == ("WARNING", "of theirs", "elsewhere")
    assert (lines[5]["stage"], lines[5]["done"]) == ("fit", 3)
    assert (lines[6]["level"], lines[6]["message"], lines[6]["file"]) == ("WARNING", "old", "some.py")
    assert lines[7]["message"] == "no line end"
    assert {line["command"] for line in lines} == {"fit"}


def test_a_fault_in_a_thread_is_one_object(begin: Callable[[], io.StringIO]) -> None:
    written = begin()

    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail, name="reader")
    thread.start()
    thread.join()
    (line,) = objects(written.getvalue())
    assert (line["level"], line["message"], line["thread"]) == ("ERROR", "RuntimeError: in a thread", "reader")
    assert "in fail" in line["traceback"]
