"""What the image runs a command with: statuses and signals of fuseid-scheduled, the health of fuseid-health."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import lance
import pytest

IMAGE = Path(__file__).parent.parent.parent / "deploy" / "image"
FROZEN = Path(__file__).parent.parent / "data" / "frozen"


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 4), (143, 143)])
def test_only_a_held_lease_becomes_a_success(status: int, expected: int) -> None:
    run = subprocess.run([IMAGE / "fuseid-scheduled", "sh", "-c", f"exit {status}"], check=False, capture_output=True)
    assert run.returncode == expected
    assert (b"another run" in run.stderr) == (status == 3)


def test_arguments_stay_as_they_are() -> None:
    run = subprocess.run([IMAGE / "fuseid-scheduled", "printf", "%s|", "a b", "", "*"], capture_output=True, check=True)
    assert run.stdout == b"a b||*|"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command_and_its_status_is_waited_for(number: signal.Signals) -> None:
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: (time.sleep(0.3), sys.exit(143))); print(flush=True)\n"
    )
    command = [IMAGE / "fuseid-scheduled", sys.executable, "-c", code + "time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait(timeout=20) == 143


def health(db: Path | None) -> int:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, **({"FUSEID_DB": str(db)} if db else {})}
    return subprocess.run([IMAGE / "fuseid-health"], check=False, env=env, capture_output=True).returncode


def test_a_run_that_lost_its_lease_is_not_healthy(tmp_path: Path) -> None:
    """A run whose row says `running` while nobody holds the lease was killed, suspended or cut off."""
    with tarfile.open(sorted(FROZEN.glob("*.tar.gz"))[-1]) as archive:
        archive.extractall(tmp_path, filter="data")
    db = next(tmp_path.rglob("runs.lance")).parent
    assert health(db) == 0
    lance.dataset(str(db / "runs.lance")).update({"outcome": "'running'"})
    assert health(db) == 1


def test_what_has_no_database_yet_is_healthy(tmp_path: Path) -> None:
    assert health(tmp_path / "db") == 0
