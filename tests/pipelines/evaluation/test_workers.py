"""The processes that train models: however an evaluation ends, it ends with one line and leaves none of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def started(made) -> Iterator[subprocess.Popen[str]]:
    """The command in a group of its own, as a terminal starts it; a test gets it once its processes have started."""
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
def test_an_interrupted_evaluation_ends_with_one_line_and_its_status(
    started, end: Callable[[subprocess.Popen[str]], None], status, said
):
    end(started)
    out, err = started.communicate(timeout=60)
    *progress, last = err.splitlines()
    assert (started.returncode, out) == (status, "")
    assert last.startswith(f"error: {said}")
    assert all(": " in line and "rror" not in line for line in progress)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor trains in the process of the command")
def test_a_killed_evaluation_leaves_no_process(started):
    started.kill()
    assert started.communicate(timeout=60)[0] == ""
