"""Fixtures shared by all tests: one Ray and one wheel for the whole session, and commands run in this process."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from fuseid.core.signals import SIGNALS

ROOT = Path(__file__).parent.parent

# The same examples on every machine, without deadlines.
hypothesis.settings.register_profile("fuseid", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fuseid")

# Before any import of a model library: no test may contact a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# Batches of a few small pictures gain nothing from a second thread. Where another process runs beside this one, threads
# that wait for each other cost more time than all that they compute.
os.environ["OMP_NUM_THREADS"] = "1"


STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "skip the slow tests that have not begun after so many minutes; the summary says how many"
    parser.addoption("--slow-minutes", type=float, help=about)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: with two processes, none is left to one of them at the end."""
    items.sort(key=lambda item: item.path.parent.name != "ray_jobs")


def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--slow-minutes")
    if minutes is not None and item.get_closest_marker("slow") and time.monotonic() - STARTED > 60 * minutes:
        pytest.skip("not begun in the time of --slow-minutes")


def pytest_configure() -> None:
    """Temporary folders lie in memory where there is room: most of a small commit is waiting for the disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free >= 8 << 30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_interrupts() -> None:
    """A shell that starts the tests in the background makes them and all their children ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A real Ray on this machine's cores, through the product's own `connect`."""
    import ray

    from fuseid.ray_jobs.runner import connect

    # A command that was tested in this process may have left one, whose workers import from that test's folder.
    ray.shutdown()
    connect()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as docs/operations.md says."""
    out = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).parent / "uv"
    command = [uv, "build", "-q", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out, ROOT]
    with (ROOT / "pyproject.toml").open() as lock:
        # Processes that test side by side build in the same folder.
        fcntl.flock(lock, fcntl.LOCK_EX)
        # setuptools would include the remains of an earlier build, deleted files among them.
        shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
        subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where `fuseid` runs; a module may have another."""
    return tmp_path


@pytest.fixture
def fuseid(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, directory: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs a command in this process, in `directory`; -> (exit status, standard output, standard error)."""
    from fuseid.apps import cli

    monkeypatch.chdir(directory)
    for name in [name for name in os.environ if name.startswith("FUSEID_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fuseid", *map(str, arguments)])
        # A command is a process of its own and does not restore them.
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            cli.run()
            status = 0
        except SystemExit as stop:
            status = stop.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        written = capsys.readouterr()
        return status, written.out, written.err

    log, progress = logging.getLogger("fuseid"), logging.getLogger("fuseid.progress")
    level = log.level
    # On a busy machine a command may take more than the minute after which it reports its progress.
    progress.disabled = True
    yield run
    progress.disabled, progress.propagate = False, True
    progress.handlers.clear()
    progress.setLevel(logging.NOTSET)
    log.setLevel(level)


@pytest.fixture
def as_text(fuseid: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Runs a command that must succeed, with nothing on standard error; -> standard output."""

    def run(*arguments: object) -> str:
        status, out, err = fuseid(*arguments)
        assert (status, err) == (0, "")
        return out

    return run


@pytest.fixture
def as_json(as_text: Callable[..., str]) -> Callable[..., Any]:
    """The same with `--json`; -> the parsed document."""
    return lambda *arguments: json.loads(as_text(*arguments, "--json"))


@pytest.fixture
def refused(fuseid: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Runs a command that must fail with one line on standard error; -> that line."""

    def run(*arguments: object, status: int = 2) -> str:
        found, out, err = fuseid(*arguments)
        assert (found, out) == (status, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return run
