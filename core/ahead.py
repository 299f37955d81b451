"""Work handed out ahead of the reader: a bounded number of results under way, in the order of what they are made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(submit: Callable[[T], Future[R]], items: Iterable[T], count: int) -> Generator[R, None, None]:
    """The result of `submit` for each item; the next `count` are under way while the reader works on one.

    What is under way when the reader leaves is cancelled. Raises what a future raises, where its result would come.
    """
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
