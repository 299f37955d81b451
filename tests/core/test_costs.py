"""What work costs: core-seconds of this thread's work, of other threads, and of children."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from fuseid.core.costs import HELPERS, ChildCoreSeconds, CoreSeconds, add_device_seconds, device_seconds


def work(seconds: float) -> None:
    """Keeps this thread on a core for so long, by its own clock."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_work_of_this_thread_is_counted_and_waiting_is_not():
    cores = CoreSeconds()
    work(0.1)
    time.sleep(0.2)
    assert 0.1 <= cores.seconds() < 0.25


@pytest.mark.parametrize(("name", "counted"), [("fuseid-stream", False), (f"{HELPERS}_0", True)])
def test_other_threads_count_only_if_they_work_for_this_one(name, counted):
    begun, ended = threading.Event(), threading.Event()

    def other() -> None:
        begun.wait()
        work(0.2)
        ended.set()
        ended.wait()
        finish.wait()

    finish = threading.Event()
    thread = threading.Thread(target=other, name=name)
    thread.start()
    cores = CoreSeconds()
    begun.set()
    ended.wait()
    found = cores.seconds()
    finish.set()
    thread.join()
    assert (found >= 0.19) == counted


def test_children_are_counted_one_after_the_other():
    cores = ChildCoreSeconds()
    before = 0.0
    for _ in range(2):
        code = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ntime.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            cores.follow(process.pid)
            process.stdout.readline()
            cores.update()
            process.kill()
        assert 0.28 <= cores.total - before < 1
        before = cores.total
    cores.update()  # the child is gone
    assert cores.total == before


def test_device_seconds_add_up():
    before = device_seconds()
    add_device_seconds(0.5)
    add_device_seconds(0.25)
    assert device_seconds() - before == pytest.approx(0.75)
