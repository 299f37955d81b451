"""A file that is written in a thread of its own, while the rows after these are made and other files are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def aside(write: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """-> `write` in another thread: a call waits for the end of the one before, not for its own, so that memory holds
    two pieces. What a call raises is raised by the next one, or at the end of the block.
    """
    # Not a name: what a future raises would hold the frame that holds the future, and all that is open in it.
    last: list[Future[Any]] = []

    def later(*arguments: Any) -> None:
        if last:
            last.pop().result()
        last.append(thread.submit(write, *arguments))

    with ThreadPoolExecutor(1) as thread:
        yield later
        if last:
            last.pop().result()
