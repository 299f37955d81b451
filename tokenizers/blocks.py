"""Rows in blocks of one size, on all cores at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier, Lock

import torch

_lock = Lock()


def each_block(vectors: torch.Tensor, size: int, work: Callable[[int, torch.Tensor, int], None]) -> None:
    """Calls work(start, rows [size, D], how many of them count) for all rows of [N, D], the tail padded with zeros.

    One size always, so that what becomes of a row never depends on how many others there are. On the CPU every block
    is one thread's: torch would split each small operation among all threads, which costs more than it brings.
    """
    starts = iter(range(0, len(vectors), size))  # shared by the threads: each takes the next block

    def some(_: int = 0) -> None:
        for start in starts:
            rows = vectors[start : start + size]
            count = len(rows)
            if count < size:
                rows = torch.cat([rows, rows.new_zeros(size - count, rows.shape[1])])
            work(start, rows, count)

    threads = torch.get_num_threads()
    if threads == 1 or vectors.device.type != "cpu" or len(vectors) <= size:
        some()
        return
    with _lock:
        pool = _pool(threads)
    list(pool.map(some, range(threads)))


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch works alone. What a thread sets is also the default of those that torch has not
    met yet: each is made known to it while that is one, and then the default is put back."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fuseid-blocks")
    together = Barrier(threads)

    def alone(_: int) -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()
        together.wait()

    list(pool.map(alone, range(threads)))
    torch.set_num_threads(threads)
    return pool
