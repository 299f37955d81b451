"""Stopping: what SIGTERM and Ctrl-C do to a command, from its start to its end.

The first one ends what is at work by an exception in the main thread. Inside `stoppable` it is noted instead, so that a
run finishes what it has in hand, and a second one raises. Inside `ending`, the last steps of a run, they are ignored.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fuseid.core.errors import Stopped
from fuseid.core.signals import SIGNALS

# `timeout` signals its command, then the command's group; a wrapper passes on what the terminal has sent to both.
_ECHO_SECONDS = 0.5


class Interrupted(SystemExit):
    """A signal ends a command: what is open is closed on the way up, and the row in `runs` says `stopped`."""


class Stop:
    """Whether a signal has come for a run or a command, and how long it may still take. Safe to ask from any thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._signal = 0
        self._since = float("inf")

    def tell(self, signal_number: int) -> bool:
        """False for an echo of the signal just before."""
        now = time.monotonic()
        if self.told and now - self._since < _ECHO_SECONDS:
            return False
        self._signal, self._since = signal_number, now
        return True

    @property
    def told(self) -> bool:
        return self._signal != 0

    @property
    def overdue(self) -> bool:
        return time.monotonic() - self._since > self._seconds

    def error(self, outcome: str) -> Stopped:
        """outcome: what was finished, and what to do now."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else signal.Signals(self._signal).name
        return Stopped(f"stopped by {name}: {outcome}", self._signal)


# Of the command at work; None where a program calls a job by itself.
_command: Stop | None = None


@contextmanager
def command() -> Iterator[Stop]:
    """Around a whole command, in the main thread. Afterwards signals are ignored, for its process ends."""
    global _command
    stop = _command = Stop(0)

    def end(number: int, frame: FrameType | None) -> None:
        if stop.tell(number):
            raise Interrupted(128 + number)

    _handle(end)
    try:
        yield stop
    finally:
        # Python puts handlers of its own back to the default before the process is gone, but not this one.
        _handle(signal.SIG_IGN)
        _command = None


def stopped() -> bool:
    """Whether a signal has come for the command at work. It is then the cause of whatever ends the command: Lance and
    Ray raise errors of their own in place of Interrupted, and another process may have died of the same signal."""
    return _command is not None and _command.told


@contextmanager
def stoppable(seconds: float) -> Iterator[Stop]:
    """Inside, the first signal is noted and the second one does what it did before. Only the main thread gets signals;
    elsewhere nothing is installed.

    seconds: how long the run may take to finish once it was told.
    """
    stop = Stop(seconds)

    def note(number: int, frame: FrameType | None) -> None:
        again = stop.told
        if not stop.tell(number):
            return
        if again:
            restore()
            signal.raise_signal(number)
        elif _command is not None:
            _command.tell(number)

    with _handled(note) as restore:
        yield stop


@contextmanager
def ending() -> Iterator[None]:
    """Inside, signals are ignored: a run says how it ended and gives its lease back, which takes a moment."""
    with _handled(_ignore):
        yield


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, of which Python complains when a signal came just before."""


Handler = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def _handled(handler: Handler) -> Iterator[Callable[[], None]]:
    """-> what puts the former handlers back before the end of the block."""
    before = _handle(handler) if threading.current_thread() is threading.main_thread() else {}

    def restore() -> None:
        for number, former in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, former)

    try:
        yield restore
    finally:
        restore()


def _handle(handler: Handler) -> dict[int, Any]:
    """-> the former handlers. What is ignored stays so, as a shell leaves Ctrl-C for what it starts in background."""
    found = {number: signal.getsignal(number) for number in SIGNALS}
    before: dict[int, Any] = {
        number: former for number, former in found.items() if former not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, handler)
    return before
