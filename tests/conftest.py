"""Fixtures shared by all tests; one Ray for the whole session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Before any import of a model library: nothing in the tests may reach for a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell that starts the tests in the background has them, and all that they start, ignore it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A real Ray on this machine's cores, through the product's own `connect`."""
    import ray

    from fuseid.ray_jobs.runner import connect

    connect()
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Batches of a few small pictures gain nothing from more threads, and on a busy machine lose much."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
