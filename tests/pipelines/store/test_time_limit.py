"""Queries with a condition end when their time or memory is over; others run as they are."""

from __future__ import annotations

import threading
import time

import pytest

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.store.time_limit import abandoned, limited


def test_results_and_errors_are_those_of_the_query():
    assert limited(lambda: 7, 5, "a = 1") == 7

    def fails() -> None:
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        limited(fails, 5, "a = 1")
    assert not abandoned()


def test_a_slow_query_is_left_when_its_time_is_over():
    over = threading.Event()
    begun = time.monotonic()
    with pytest.raises(NotReady, match=r"ended after 0\.3 s \(timeout=\).*'slow\(a\)'"):
        limited(over.wait, 0.3, "slow(a)")
    assert time.monotonic() - begun < 3
    assert abandoned()
    over.set()


def test_a_query_that_takes_half_of_the_free_memory_is_left(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 64 << 20}))
    over, taken = threading.Event(), []

    def grows() -> None:
        taken.append(bytearray(b"x") * (128 << 20))
        over.wait()

    with pytest.raises(NotReady, match="half of the free memory"):
        limited(grows, 60, "repeat('a', 1000000000) = a")
    over.set()


def test_without_a_condition_the_query_runs_in_the_calling_thread():
    assert limited(threading.current_thread, 1, None) is threading.current_thread()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_is_above_zero(seconds):
    with pytest.raises(BadInput, match="above 0"):
        limited(lambda: 7, seconds, "a = 1")
