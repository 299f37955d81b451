"""Results made ahead of the reader: in order, bounded, and cancelled when the reader leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from fuseid.core.ahead import map_ahead


@pytest.mark.parametrize("count", [0, 1, 4])
def test_results_come_in_order_and_stay_bounded(count):
    drawn = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            drawn.append(number)
            yield number

    with ThreadPoolExecutor(4) as pool:
        made = map_ahead(partial(pool.submit, lambda n: n * n), numbers(), count)
        assert [next(made), next(made)] == [0, 1]
        assert len(drawn) == 2 + count
        assert list(made) == [n * n for n in range(2, 50)]


def test_an_error_is_raised_where_its_result_would_come():
    with ThreadPoolExecutor(2) as pool:
        made = map_ahead(partial(pool.submit, lambda n: 1 // n), [1, 1, 0, 1], 2)
        assert [next(made), next(made)] == [1, 1]
        with pytest.raises(ZeroDivisionError):
            next(made)


def test_what_has_not_begun_when_the_reader_leaves_is_cancelled():
    begun, release = threading.Event(), threading.Event()
    submitted: list[Future[None]] = []

    def work(number: int) -> None:
        if number:
            begun.set()
            release.wait(10)

    def submit(number: int) -> Future[None]:
        submitted.append(pool.submit(work, number))
        return submitted[-1]

    with ThreadPoolExecutor(1) as pool:
        made = map_ahead(submit, range(9), 3)
        next(made)
        assert begun.wait(10)
        made.close()
        release.set()
    assert [future.cancelled() for future in submitted] == [False, False, True, True]
