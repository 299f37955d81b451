"""A limit of time and memory for queries with a condition that somebody typed.

Lance's queries cannot be interrupted while a function of SQL computes one value, so the query runs in a thread that is
left behind when its time is over. A command then ends at once, and the thread with it (`apps.cli`); in a user's program
it goes on until Lance next looks whether it is still wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.surface import option

T = TypeVar("T")

SECONDS = 60.0
_LOOK_SECONDS = 0.1
_NAME = "fuseid-limited-query"


def limited(query: Callable[[], T], seconds: float | None, condition: str | None) -> T:
    """What the query returns. Raises what it raises; NotReady when it has taken that many seconds (None: SECONDS), or
    more than half of the memory that was free. Without a condition the query runs as it is."""
    seconds = SECONDS if seconds is None else seconds
    if not seconds > 0:
        raise BadInput(f"the time limit is a number of seconds above 0, got {seconds:g}")
    if condition is None:
        return query()
    import psutil

    free, process = psutil.virtual_memory().available, psutil.Process()
    used, begun = process.memory_info().rss, time.monotonic()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(query())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=_NAME, daemon=True)
    thread.start()
    while True:
        left = begun + seconds - time.monotonic()
        thread.join(max(0.0, min(left, _LOOK_SECONDS)))
        if not thread.is_alive():
            break
        if left <= 0:
            raise NotReady(
                f"the query was ended after {seconds:g} s ({option('timeout')}); its condition may be too costly: "
                f"{condition!r}"
            )
        if process.memory_info().rss - used > free / 2:
            raise NotReady(
                f"the query was ended when it had taken half of the free memory; its condition is too costly: "
                f"{condition!r}"
            )
    if errors:
        raise errors[0]
    return results[0]


def abandoned() -> bool:
    """Whether a query is still running that nobody waits for."""
    return any(thread.name == _NAME for thread in threading.enumerate())
