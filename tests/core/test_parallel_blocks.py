"""Blocks: every row is processed once for any number of threads, and that number is restored."""

from __future__ import annotations

import threading

import pytest
import torch

from fuseid.core.parallel_blocks import each_block, on_all_cores, on_one_core


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 1000])
def test_each_row_is_in_one_block_and_the_tail_is_filled_with_zeros(threads, number, rows):
    threads(number)
    vectors = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows))
    seen = torch.zeros_like(vectors)
    sizes = []

    def work(start, block, count):
        seen[start : start + count] += block[:count]
        sizes.append(len(block))
        assert not block[count:].any()

    each_block(vectors, 16, work)
    assert torch.equal(seen, vectors)
    assert set(sizes) == {16}
    assert torch.get_num_threads() == number


def test_blocks_run_in_parallel_with_one_torch_thread_each(threads):
    threads(3)
    together = threading.Barrier(3, timeout=60)  # breaks unless three blocks run at once
    inside = []

    def work(start, block, count):
        together.wait()
        inside.append(torch.get_num_threads())

    each_block(torch.zeros(6, 2), 1, work)
    assert inside == [1] * 6
    started = []
    thread = threading.Thread(target=lambda: started.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert started == [3]


@pytest.mark.parametrize("number", [1, 3])
def test_an_error_in_a_block_is_raised(threads, number):
    threads(number)

    def work(start, block, count):
        raise ValueError(f"block {start}")

    with pytest.raises(ValueError, match="block"):
        each_block(torch.zeros(64, 2), 8, work)


@pytest.mark.parametrize("number", [1, 3])
def test_results_come_in_order_with_one_torch_thread_each(threads, number):
    threads(number)
    found = list(on_all_cores(lambda item: (item, torch.get_num_threads()), range(20)))
    assert found == [(item, 1) for item in range(20)]
    assert torch.get_num_threads() == number


def test_results_that_wait_are_bounded(threads):
    threads(2)
    begun = []
    results = on_all_cores(begun.append, range(100))
    next(results)
    assert len(begun) <= 5


@pytest.mark.parametrize("number", [1, 3])
def test_work_on_one_core_has_one_torch_thread(threads, number):
    threads(number)
    assert on_one_core(torch.get_num_threads) == 1
    assert torch.get_num_threads() == number
