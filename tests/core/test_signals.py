"""Processes that a command starts do not get the signals that a terminal sends to all of its group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from fuseid.core.signals import SIGNALS, held_back


def test_child_processes_do_not_get_the_signals_and_this_process_does() -> None:
    seen: list[int] = []
    before = {number: signal.signal(number, lambda number, frame: seen.append(number)) for number in SIGNALS}
    try:
        with held_back():
            # From its first instruction on, long before Python is ready.
            child = subprocess.Popen([sys.executable, "-c", "print(input())"], stdin=-1, stdout=-1, text=True)
        for number in SIGNALS:
            child.send_signal(number)
            os.kill(os.getpid(), number)
        assert child.communicate("alive")[0] == "alive\n"
        assert child.returncode == 0
        assert sorted(seen) == sorted(SIGNALS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
