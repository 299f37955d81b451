"""Prefetching in a thread: in order, bounded, with errors raised to the consumer, and closed at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fuseid.pipelines.streams.prefetch import Prefetch, chained, in_background


def rest(ahead: Prefetch[int]) -> list[int]:
    found = []
    while not ahead.ended:
        item = ahead.get(0.05)
        if item is not None:
            found.append(item)
    return found


@pytest.mark.parametrize("count", [0, 1, 100])
def test_all_items_come_in_order(count):
    with Prefetch(iter(range(1, count + 1)), 3, "test") as ahead:
        assert rest(ahead) == list(range(1, count + 1))
    with Prefetch(iter(range(1, count + 1)), 3, "test") as ahead:
        assert list(ahead) == list(range(1, count + 1))


def test_prefetch_is_bounded_and_closes_the_iterator_in_its_thread():
    drawn, closed = [], []

    def items() -> Iterator[int]:
        try:
            for i in range(1, 1000):
                drawn.append(i)
                yield i
        finally:
            closed.append(threading.current_thread().name)

    with Prefetch(items(), 4, "its-thread") as ahead:
        assert ahead.get() == 1
        time.sleep(0.2)
        # One taken, four in the queue, one that waits for room.
        assert len(drawn) == 6
    assert closed == ["its-thread"]
    assert len(drawn) <= 7
    assert not ahead.ended


def test_get_waits_no_longer_than_its_timeout():
    release = threading.Event()

    def items() -> Iterator[int]:
        release.wait(10)
        yield 1

    with Prefetch(items(), 1, "test") as ahead:
        started = time.monotonic()
        assert ahead.get(0) is None
        assert ahead.get(0.1) is None
        assert time.monotonic() - started < 5
        release.set()
        assert rest(ahead) == [1]


def test_an_error_comes_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("of the iterator")

    with Prefetch(items(), 8, "test") as ahead:
        assert ahead.get() == 1
        with pytest.raises(ZeroDivisionError, match="of the iterator"):
            ahead.get()


def test_calls_come_in_order_one_at_a_time_in_another_thread_and_are_done_at_the_end():
    done: list[tuple[int, int]] = []
    with in_background(lambda number: done.append((number, threading.get_ident()))) as write:
        for number in range(50):
            write(number)
            assert len(done) >= number
    assert [number for number, _ in done] == list(range(50))
    assert {thread for _, thread in done}.isdisjoint({threading.get_ident()})


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_an_error_of_a_call_is_raised_by_the_next_call_or_at_the_end(calls):
    tried: list[int] = []

    def refuse(number: int) -> None:
        tried.append(number)
        raise OSError("disk full")

    def whole() -> None:
        with in_background(refuse) as write:
            for number in range(calls):
                write(number)

    with pytest.raises(OSError, match="disk full"):
        whole()
    assert tried == [0]


def test_an_error_of_the_block_is_raised_after_the_running_call_ends():
    done: list[str] = []

    def whole() -> None:
        with in_background(done.append) as write:
            write("first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        whole()
    assert done == ["first"]


def test_iterators_that_are_chained_come_in_order_while_the_next_ones_run():
    begun = []

    def numbers(first: int) -> Iterator[int]:
        begun.append(first)
        yield from range(first, first + 10)

    items = chained((numbers(first) for first in range(1, 61, 10)), 2, 3, "chained")
    assert next(items) == 1
    assert sorted(begun) == [1, 11, 21]
    assert list(items) == list(range(2, 61))


def test_a_chain_that_is_left_ends_its_threads():
    def endless() -> Iterator[int]:
        while True:
            yield 1

    items = chained((endless() for _ in range(9)), 2, 3, "left-early")
    assert next(items) == 1
    items.close()
    assert "left-early" not in {thread.name for thread in threading.enumerate()}
