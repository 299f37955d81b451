"""Stopping: SIGTERM or Ctrl-C lets a run finish what it has in hand; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fuseid.core.errors import Stopped

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether a run was told to stop, and how long it may still take. Safe to ask from any thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._signal = 0
        self._deadline = float("inf")

    def tell(self, signal_number: int) -> None:
        self._signal = signal_number
        self._deadline = time.monotonic() + self._seconds

    @property
    def told(self) -> bool:
        return self._signal != 0

    @property
    def overdue(self) -> bool:
        return time.monotonic() > self._deadline

    def error(self, outcome: str) -> Stopped:
        """outcome: what was finished, and what to do now."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else signal.Signals(self._signal).name
        return Stopped(f"stopped by {name}: {outcome}", self._signal)


@contextmanager
def stoppable(seconds: float) -> Iterator[Stop]:
    """Inside, the first signal is noted and the second one does what it did before. Only the main thread gets signals;
    elsewhere nothing is installed.

    seconds: how long the run may take to finish once it was told.
    """
    stop = Stop(seconds)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        stop.tell(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)

    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as a shell leaves Ctrl-C for what it starts in the background
            signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
