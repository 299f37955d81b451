"""Computes a limited number of results ahead of the consumer, in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(submit: Callable[[T], Future[R]], items: Iterable[T], count: int) -> Generator[R, None, None]:
    """The result of `submit` for each item; the next `count` are computed while the consumer uses one.

    Pending futures are cancelled when the consumer stops. The exception of a future is raised in place of its result.
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
