"""The two signals that ask a command to end, and a way to start processes that never receive them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held_back() -> Iterator[None]:
    """Processes that this thread starts inside the block have both signals blocked from their first instruction.

    A terminal, `timeout` and `ray job stop` also signal the children of a command, but the command decides when its
    children end. This process itself still receives the signals, in another thread or at the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
