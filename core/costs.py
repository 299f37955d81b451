"""What work costs: core-seconds, the time that threads and processes were on a core, and device-seconds."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import psutil

from fuseid.core.platform import core_seconds_of_thread

# Threads with such names do work of the thread that measures: they prepare the inputs of its model.
HELPERS = "fuseid-prepare"


class CoreSeconds:
    """Core-seconds of this process since it was made, without those of its other Python threads, which do other work.

    The threads of libraries, such as torch's, are counted. Where the system does not tell how long one thread was on a
    core (all except Linux), so are the other Python threads.
    """

    def __init__(self) -> None:
        self._before, self._others = time.process_time(), _others()

    def seconds(self) -> float:
        """So far. A thread that has ended meanwhile is counted."""
        now = _others()
        others = sum(seconds - self._others.get(thread, 0.0) for thread, seconds in now.items())
        return max(0.0, time.process_time() - self._before - others)


def _others() -> dict[int, float]:
    """Core-seconds of the other Python threads so far, by the system's number of the thread."""
    found = {}
    for thread in threading.enumerate():
        if thread is threading.current_thread() or thread.name.startswith(HELPERS) or thread.native_id is None:
            continue
        seconds = core_seconds_of_thread(thread.native_id)
        if seconds is not None:
            found[thread.native_id] = seconds
    return found


class ChildCoreSeconds:
    """Core-seconds of one child process after another, each counted from its start."""

    def __init__(self) -> None:
        self.total = 0.0
        self._process: psutil.Process | None = None
        self._counted = 0.0

    def follow(self, pid: int) -> None:
        """To be called when a child has started."""
        self._process, self._counted = None, 0.0
        with suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def update(self) -> None:
        """To be called from time to time, and before a child is waited for."""
        if self._process is None:
            return
        with suppress(psutil.Error):
            times = self._process.cpu_times()
            now = times.user + times.system
            self.total, self._counted = self.total + now - self._counted, now


_device = 0.0


def add_device_seconds(seconds: float) -> None:
    """To be called by whatever computes on a device that is not the CPU, after each piece of work."""
    global _device
    _device += seconds


def device_seconds() -> float:
    """Seconds that this process has kept a device busy so far."""
    return _device
