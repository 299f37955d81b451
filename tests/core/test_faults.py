"""Fault injection for tests: unused it does nothing, and its names are those of the steps in the sources."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fuseid.core import faults

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from fuseid.core.faults import reached
for step in sys.argv[1:]:
    reached(*step.split(":"))
    print(step, flush=True)
"""


def calls_of(function: str) -> list[str]:
    found = []
    for folder in ("core", "encoders", "tokenizers", "pipelines", "ray_jobs", "apps"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                    assert isinstance(node.args[0], ast.Constant), f"{path} names no step"
                    found.append(node.args[0].value)
    return found


def run(tmp_path: Path, fault: str, *steps: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "FUSEID_FAULT": fault, "FUSEID_FAULT_MARKS": str(tmp_path)}
    command = [sys.executable, "-c", SCRIPT, *steps]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_each_step_is_one_place_of_the_sources() -> None:
    assert sorted(calls_of("reached")) == sorted(faults.STEPS)


def test_without_a_fault_nothing_happens() -> None:
    faults.reached("wave.done")


@pytest.mark.parametrize(
    ("fault", "steps", "passed"),
    [
        ("wave.done", ["wave.ready", "wave.done"], ["wave.ready"]),
        ("wave.done#3", ["wave.done"] * 4, ["wave.done"] * 2),
        ("run.begun#2,wave.done", ["run.begun", "wave.done"], ["run.begun"]),
        ("decode.item@poison", ["decode.item:a", "decode.item:b-poison-c"], ["decode.item:a"]),
        ("encode.block@", ["encode.block"], []),
    ],
)
def test_a_process_is_killed_at_the_given_step(fault: str, steps: list[str], passed: list[str], tmp_path: Path) -> None:
    process = run(tmp_path, fault, *steps)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert out.split() == passed
    (mark,) = tmp_path.iterdir()
    assert (mark.name, mark.read_text()) == (steps[len(passed)].split(":")[0], str(process.pid))


def test_of_many_processes_one_is_killed(tmp_path: Path) -> None:
    both = [run(tmp_path, "wave.done", "wave.done") for _ in range(2)]
    assert sorted(process.communicate(timeout=60)[0] for process in both) == ["", "wave.done\n"]


def test_a_process_is_held_until_it_may_go_on(tmp_path: Path) -> None:
    process = run(tmp_path, "wave.done=hold", "wave.done")
    while not (tmp_path / "wave.done").exists():
        time.sleep(0.01)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.2)
    (tmp_path / "wave.done.go").touch()
    assert process.communicate(timeout=60)[0] == "wave.done\n"


@pytest.mark.parametrize("fault", ["wave.gone", "wave.done#0", "wave.done=", "wave.done#2@x"])
def test_a_fault_that_names_no_step_is_refused(fault: str, tmp_path: Path) -> None:
    process = run(tmp_path, fault)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"FUSEID_FAULT names {fault!r}" in words


def test_an_unknown_step_is_refused_where_faults_are_armed(tmp_path: Path) -> None:
    process = run(tmp_path, "wave.done", "wave.gone")
    assert "'wave.gone' is not one of" in process.communicate(timeout=60)[1]
