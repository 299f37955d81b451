"""`fuseid evaluate`: what it tells, one line for what is wrong, and nothing left of it, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fuseid.pipelines.evaluation.settings import _NAMED as named_settings

EVALUATE = ("evaluate", "--db", "db", "--sequences", "sequences")


@pytest.fixture
def directory(made: Path) -> Path:
    return made


@pytest.fixture(autouse=True)
def short_and_alone(monkeypatch, short):
    """In this process, `tiny` is too short to learn anything, and trains here."""
    monkeypatch.setitem(named_settings, "tiny", short)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})


def test_the_command_tells_machines_what_it_tells_people(told, shown):
    found = told(*EVALUATE, "--against", "hashed", "--seeds", "1", "--users", "10")
    assert (found["seeds"], found["examples"]["users"]) == (1, 10)
    assert {row["against"] for row in found["differences"]} == {"hashed"}
    out = shown(*EVALUATE, "--against", "hashed", "--seeds", "1", "--users", "10")
    for row in found["measures"]:
        if row["low"] is not None:
            assert f"{100 * row['value']:.2f} ({100 * row['low']:.2f} to {100 * row['high']:.2f})" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--setting", "huge"], "unknown setting 'huge'; there are tiny and small"),
        (["--against", "nothing"], "unknown control 'nothing'"),
        (["--tokenizer", "rq-kmeans-0000"], "export them with --tokenizer"),
    ],
)
def test_a_wrong_command_ends_with_one_line(refused, more, message):
    assert message in refused(*EVALUATE, *more)


def test_a_folder_that_was_changed_ends_with_one_line(refused, made, tmp_path):
    folder = shutil.copytree(made / "sequences", tmp_path / "changed")
    with (folder / "part-00000.parquet").open("ab") as file:
        file.write(b"more")
    assert "is not what its manifest says" in refused("evaluate", "--db", "db", "--sequences", folder)


# How it ends before it is done


@pytest.fixture
def started(made) -> Iterator[subprocess.Popen[str]]:
    """The command in a group of its own, as a terminal starts it; a test has it when its processes are there."""
    command = [Path(sys.executable).with_name("fuseid"), "evaluate", "--db", "db", "--sequences", "sequences", "--json"]
    with subprocess.Popen(
        command, cwd=made, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while len(trainers(process)) < 2 and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            family = psutil.Process(process.pid).children(recursive=True)
            yield process
        finally:
            process.kill()
    assert psutil.wait_procs(family, timeout=60)[1] == [], "a process is left"


def trainers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            if "spawn_main" in " ".join(one.cmdline()):
                found.append(one)
    return found


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor trains in the process of the command")
@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (lambda process: os.killpg(process.pid, signal.SIGINT), 130, "stopped by Ctrl-C: 0 of 15 models were trained"),
        (lambda process: process.terminate(), 143, "stopped by SIGTERM: 0 of 15 models were trained"),
        (lambda process: os.killpg(process.pid, signal.SIGTERM), 143, "stopped by SIGTERM: 0 of 15 models"),
        (lambda process: trainers(process)[-1].kill(), 1, "a process that trained a model was killed"),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM to its group", "a killed process"],
)
def test_it_ends_with_one_line_and_its_status(started, end: Callable[[subprocess.Popen[str]], None], status, said):
    end(started)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err.count("\n")) == (status, "", 1)
    assert err.startswith(f"error: {said}")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor trains in the process of the command")
def test_killed_itself_it_leaves_no_process(started):
    started.kill()
    assert started.communicate(timeout=60)[0] == ""
