"""Iterators that run ahead of their reader, in threads of their own and a bounded number of items."""

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
    """A context manager around an iterator; `get` waits for its next item no longer than told. Items are not None.

    ended: the iterator had no more. Who leaves before closes it, once it has made the item that it is at; patience: for
    how many seconds this is waited for.
    """

    def __init__(self, items: Iterator[T], room: int, name: str) -> None:
        self.ended = False
        self.patience = 10.0
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=room)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._make_room()
        self._thread.join(self.patience)

    def get(self, timeout: float | None = None) -> T | None:
        """The next item; None where there is none yet, or none any more. Raises what the iterator raised."""
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
        """All that are left."""
        while (item := self.get()) is not None:
            yield item

    def _run(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._left.is_set():
                    break
            self._put(_DONE)
        except BaseException as error:
            self._put(_Raised(error))
        finally:
            # In the thread that runs it: a generator cannot be closed from another one.
            getattr(self._items, "close", lambda: None)()

    def _put(self, item: Any) -> None:
        if not self._left.is_set():
            self._queue.put(item)

    def _make_room(self) -> None:
        """The thread may be waiting for room: it sees that its reader has left."""
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def chained(iterators: Iterable[Iterator[T]], count: int, room: int, name: str) -> Generator[T, None, None]:
    """The items of one iterator after the other; meanwhile the next `count` run too, each up to `room` items ahead."""
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
