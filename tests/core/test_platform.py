"""What Linux alone has: asked for in one module, named in one table, and done without where it is absent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fuseid.core import platform

ROOT = Path(__file__).parents[2]
FOLDERS = ("core", "encoders", "tokenizers", "pipelines", "ray_jobs", "api", "apps")
LINUX_ALONE = re.compile(r"sched_getaffinity|/proc\b|prctl|F_SETPIPE_SZ|RLIMIT_AS\b|/sys/|/dev/shm|sys\.platform")


def test_one_module_asks_for_what_linux_alone_has() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if LINUX_ALONE.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"core/platform.py"}


def test_the_table_has_every_facility_and_what_is_lost_without_it() -> None:
    table = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    for facility, promise in platform.FACILITIES.items():
        (row,) = [line for line in table.splitlines() if line.startswith(f"| `{facility}` |")]
        assert promise in row


def test_a_system_with_everything_has_nothing_to_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert platform.note() is None
    monkeypatch.setenv(platform.LACKS, "process-identity,address-space-limit")
    assert platform.note() == (
        "this system promises less than Linux (docs/platforms.md): `decode.memory_bytes` can be exceeded for a "
        "twentieth of a second; a database is free only when the lease of a killed run has expired"
    )


def test_another_system_lacks_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "_LINUX", False)
    assert platform.lacks() == platform.FACILITIES.keys()
    assert platform.process_identity() is None
    assert platform.name_of_open_file(0) is None


def test_an_unknown_facility_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(platform.LACKS, "gravity")
    with pytest.raises(ValueError, match="names gravity; there are parent-death-signal"):
        platform.has("process-identity")


def test_usable_cores_are_those_that_this_process_is_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])
    try:
        assert platform.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert platform.usable_cores() == os.cpu_count()


CHILD = """
import sys, time
from fuseid.core import platform
platform.end_with_parent(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE, text=True)
assert child.stdout.readline() == "ready\\n"
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("lacks", ["", "parent-death-signal"])
def test_a_process_ends_with_its_parent(lacks: str) -> None:
    command = [sys.executable, "-c", PARENT, CHILD]
    environment = {**os.environ, platform.LACKS: lacks}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert ended(child, 0.7) is False
        parent.send_signal(signal.SIGKILL)
    assert ended(child, 10)


def test_a_process_whose_parent_is_gone_already_ends_at_once() -> None:
    assert subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, check=False).returncode == 1


def ended(process: psutil.Process, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        # Its new parent may not read its exit status.
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("group", "cores"),
    [("/", None), ("/pods", 3.0), ("/pods/one", 1.5), ("/pods/two", 3.0), ("/elsewhere", None)],
)
def test_the_smallest_quota_above_a_control_group_counts(tmp_path: Path, group: str, cores: float | None) -> None:
    for folder, text in {"pods": "300000 100000\n", "pods/one": "150000 100000\n", "pods/two": "max 100000\n"}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cpu.max").write_text(text)
    assert platform._cores_of_quota(tmp_path, group) == cores


def test_there_is_a_core_to_use() -> None:
    assert 1 <= platform.usable_cores() <= (os.cpu_count() or 1)
