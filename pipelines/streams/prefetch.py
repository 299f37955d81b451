"""Iterators that run in threads of their own, a bounded number of items ahead of their reader."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_DONE = object()


class Prefetch(Generic[T]):
    """A context manager around an iterator; `get` returns its next item. Items are never None.

    room: how many items may be ready before they are read. ended: whether the iterator is exhausted.
    Leaving the block before that closes the iterator as soon as it has produced its current item; leaving waits for
    this for at most `close_seconds`.
    """

    def __init__(self, items: Iterator[T], room: int, name: str) -> None:
        self.ended = False
        self.close_seconds = 10.0
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=room)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._make_room()
        self._thread.join(self.close_seconds)

    def get(self, timeout: float | None = None) -> T | None:
        """The next item; None if no item is ready within `timeout` seconds, or if the iterator is exhausted. Raises
        what the iterator raised."""
        try:
            item = self._queue.get(timeout=timeout) if timeout is None or timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        if item is _DONE:
            self.ended = True
            return None
        if isinstance(item, _Raised):
            raise item.error
        return item

    def __iter__(self) -> Iterator[T]:
        """All remaining items."""
        while (item := self.get()) is not None:
            yield item

    def _run(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._closing.is_set():
                    break
            self._put(_DONE)
        except BaseException as error:
            self._put(_Raised(error))
        finally:
            # Closed in the thread that runs it: a generator cannot be closed from another thread.
            getattr(self._items, "close", lambda: None)()

    def _put(self, item: Any) -> None:
        if not self._closing.is_set():
            self._queue.put(item)

    def _make_room(self) -> None:
        """Empties the queue: the thread may be waiting to put an item into it."""
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def chained(iterators: Iterable[Iterator[T]], count: int, room: int, name: str) -> Generator[T, None, None]:
    """The items of one iterator after the other; meanwhile the next `count` iterators run too, each up to `room` items
    ahead."""
    running: deque[Prefetch[T]] = deque()
    try:
        for items in iterators:
            running.append(Prefetch(items, room, name).__enter__())
            if len(running) > count:
                yield from running[0]
                running.popleft()
        while running:
            yield from running[0]
            running.popleft()
    finally:
        for left in running:
            left.__exit__(None, None, None)


@contextmanager
def in_background(write: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """-> a function that calls `write` in another thread. Each call first waits until the call before it has finished,
    so at most two pieces are in memory. What a call raises is raised by the next call, or at the end of the block.
    """
    # A list that is emptied before the result is read. A variable would make a reference cycle when the call raises
    # (future, exception, traceback, this frame, future), which would keep open whatever these frames hold.
    last: list[Future[Any]] = []

    def later(*arguments: Any) -> None:
        if last:
            last.pop().result()
        last.append(thread.submit(write, *arguments))

    with ThreadPoolExecutor(1) as thread:
        yield later
        if last:
            last.pop().result()
