"""Blocks fit the device: sized by its memory, and halved for good where memory still runs out."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.costs import device_seconds
from fuseid.encoders.devices import (
    Passes,
    is_out_of_memory,
    power_of_two_below,
    prepared,
    preparing_threads,
    rows_that_fit,
)

CPU = torch.device("cpu")


def cpu_out_of_memory() -> None:
    """Asks the allocator for 4 PiB, which it refuses in its own words."""
    torch.empty(1 << 52, dtype=torch.uint8)


def device_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def python_out_of_memory() -> None:
    # Beyond the address space, so that no overcommit can grant it.
    np.empty(1 << 59, dtype=np.uint8)


@pytest.mark.parametrize("run_out", [cpu_out_of_memory, device_out_of_memory, python_out_of_memory])
def test_a_block_that_memory_cannot_hold_is_halved_until_it_fits_and_stays_so(run_out):
    sizes = []

    def forward(block):
        sizes.append(len(block))
        if len(block) > 2:
            run_out()
        return [2 * item for item in block]

    passes = Passes(CPU)
    assert passes.run(forward, list(range(11)), 8) == [2 * item for item in range(11)]
    assert sizes == [8, 4] + [2] * 6
    assert passes.limit == 2
    sizes.clear()
    assert passes.run(forward, [1, 2, 3], 8) == [2, 4, 6]
    assert sizes == [2, 2]


def test_an_item_that_does_not_fit_alone_raises():
    passes = Passes(CPU)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        passes.run(lambda block: cpu_out_of_memory(), [1, 2, 3], 4)
    assert passes.limit == 1


def test_any_other_error_is_raised_at_once():
    calls = []

    def forward(block):
        calls.append(len(block))
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Passes(CPU).run(forward, [1, 2, 3], 4)
    assert calls == [4]
    assert not is_out_of_memory(ValueError("no"))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(), max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_every_item_comes_back_in_order_from_full_blocks(items, size, limit):
    seen = set()

    def forward(block):
        seen.add(len(block))
        return [-item for item in block]

    passes = Passes(CPU)
    passes.limit = limit
    assert passes.run(forward, items, size) == [-item for item in items]
    assert seen <= {min(size, limit)}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 1 << 40))
def test_power_of_two_below_is_the_largest_that_fits(number):
    found = power_of_two_below(number)
    assert found <= number < 2 * found
    assert found.bit_count() == 1


def test_a_model_on_one_cpu_thread_shares_it_with_no_other():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert preparing_threads(torch.device("cpu")) is None
        torch.set_num_threads(3)
        with preparing_threads(torch.device("cpu")) as threads:
            assert [*prepared(lambda item: -item, range(9), threads, 4)] == [-item for item in range(9)]
    finally:
        torch.set_num_threads(before)


def test_rows_follow_from_the_free_memory(monkeypatch):
    assert power_of_two_below(0) == 1
    assert rows_that_fit(torch.device("cpu"), 1 << 20, on_cpu=32, most=512) == 32
    for free, rows in ((80 << 30, 256), (11 << 30, 32), (1 << 20, 1), (1 << 50, 512)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert rows_that_fit(torch.device("cuda"), 64 << 20, on_cpu=32, most=512) == rows


@pytest.mark.parametrize(("device", "counted"), [("cpu", False), ("meta", True)])
def test_seconds_are_counted_on_a_device_and_not_on_the_cpu(device, counted):
    before = device_seconds()

    def forward(block: list[int]) -> list[int]:
        time.sleep(0.02)
        return block

    Passes(torch.device(device)).run(forward, [1, 2, 3], 2)
    assert (device_seconds() - before >= 0.04) == counted
