"""A file written aside: in order, waited for, and its errors are not lost."""

from __future__ import annotations

import threading

import pytest

from fuseid.pipelines.aside import aside


def test_calls_come_in_order_one_at_a_time_in_another_thread_and_are_done_at_the_end():
    done: list[tuple[int, int]] = []
    with aside(lambda number: done.append((number, threading.get_ident()))) as write:
        for number in range(50):
            write(number)
            assert len(done) >= number
    assert [number for number, _ in done] == list(range(50))
    assert {thread for _, thread in done}.isdisjoint({threading.get_ident()})


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_what_a_call_raises_is_raised_by_the_next_one_or_at_the_end(calls):
    tried: list[int] = []

    def refuse(number: int) -> None:
        tried.append(number)
        raise OSError("disk full")

    def whole() -> None:
        with aside(refuse) as write:
            for number in range(calls):
                write(number)

    with pytest.raises(OSError, match="disk full"):
        whole()
    assert tried == [0]


def test_what_the_block_raises_is_raised_once_the_call_under_way_is_done():
    done: list[str] = []

    def whole() -> None:
        with aside(done.append) as write:
            write("first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        whole()
    assert done == ["first"]
