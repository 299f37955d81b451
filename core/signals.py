"""The two signals that ask a command to end, and how to start processes that never get them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that this thread starts inside have both signals blocked, from their first instruction on.

    A terminal, `timeout` and `ray job stop` send them to the children of a command too; when these end is for the
    command to decide. This process itself gets them as ever, in another thread or at the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
