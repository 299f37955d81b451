"""Stopping: what SIGTERM and Ctrl-C do to a command, from its start to its end.

A signal raises an exception in the main thread, which ends the command. Inside `stoppable` the first signal is only
recorded, so that a run can finish the work in progress, and the second one raises. Inside `ending`, the last steps of a
run, signals are ignored.
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

# A second signal within this time is the same request: `timeout` signals its command and then the command's group, and
# a wrapper passes on a signal that the terminal has already sent to both.
_ECHO_SECONDS = 0.5


class Interrupted(SystemExit):
    """Raised by a signal to end a command: what is open is closed, and the row in `runs` says `stopped`."""


class Stop:
    """Whether a signal has requested a run or a command to stop, and whether its time to finish is over. Safe to read
    from any thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._signal = 0
        self._since = float("inf")

    def request(self, signal_number: int) -> bool:
        """Records a signal. False if it is the same request as the signal just before it."""
        now = time.monotonic()
        if self.requested and now - self._since < _ECHO_SECONDS:
            return False
        self._signal, self._since = signal_number, now
        return True

    @property
    def requested(self) -> bool:
        return self._signal != 0

    @property
    def overdue(self) -> bool:
        return time.monotonic() - self._since > self._seconds

    def error(self, outcome: str) -> Stopped:
        """The error that reports the stop. outcome: what was finished, and what to do next."""
        name = "Ctrl-C" if self._signal == signal.SIGINT else signal.Signals(self._signal).name
        return Stopped(f"stopped by {name}: {outcome}", self._signal)


# That of the running command; None if a job runs outside `command`, called by a user's program.
_command: Stop | None = None


@contextmanager
def command() -> Iterator[Stop]:
    """Encloses a whole command, in the main thread. Afterwards signals are ignored, since the process is ending."""
    global _command
    stop = _command = Stop(0)

    def end(number: int, frame: FrameType | None) -> None:
        if stop.request(number):
            raise Interrupted(128 + number)

    _handle(end)
    try:
        yield stop
    finally:
        # As it exits, Python replaces handlers written in Python by the default, but it leaves SIG_IGN in place.
        _handle(signal.SIG_IGN)
        _command = None


def stopped() -> bool:
    """Whether a signal has requested the running command to stop. The signal is then the cause of any error that ends
    the command: Lance and Ray raise errors of their own in place of Interrupted, and another process may have died of
    the same signal."""
    return _command is not None and _command.requested


@contextmanager
def stoppable(seconds: float) -> Iterator[Stop]:
    """Inside, the first signal is only recorded, and the second one has the effect that it has outside. Only the main
    thread gets signals; in another thread nothing is installed.

    seconds: how long the run may take to finish after the first signal.
    """
    stop = Stop(seconds)

    def note(number: int, frame: FrameType | None) -> None:
        again = stop.requested
        if not stop.request(number):
            return
        if again:
            restore()
            signal.raise_signal(number)
        elif _command is not None:
            _command.request(number)

    with _handled(note) as restore:
        yield stop


@contextmanager
def ending() -> Iterator[None]:
    """Inside, signals are ignored, for the moment in which a run records how it ended and releases its lease."""
    with _handled(_ignore):
        yield


def _ignore(number: int, frame: FrameType | None) -> None:
    """Used in place of SIG_IGN, about which Python complains if a signal has come just before."""


Handler = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def _handled(handler: Handler) -> Iterator[Callable[[], None]]:
    """Inside, signals have this handler -> a function that puts the former handlers back before the block ends."""
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
    """Installs a handler -> the former handlers. A signal that is ignored stays ignored: a shell ignores Ctrl-C for
    commands that it starts in the background."""
    found = {number: signal.getsignal(number) for number in SIGNALS}
    before: dict[int, Any] = {
        number: former for number, former in found.items() if former not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, handler)
    return before
