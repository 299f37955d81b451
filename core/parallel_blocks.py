"""Work on blocks of rows, on all cores in parallel, one torch thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier, Lock
from typing import TypeVar

import torch

from fuseid.core.ahead import map_ahead

T = TypeVar("T")
R = TypeVar("R")
_lock = Lock()


def each_block(vectors: torch.Tensor, size: int, work: Callable[[int, torch.Tensor, int], None]) -> None:
    """Calls work(start, rows [size, D], number of real rows) for all rows of [N, D]; the last block is filled with
    zeros.

    All blocks have one size, so that the result of a row never depends on how many rows there are. On the CPU, each
    block runs on one thread: torch would split each small operation among all threads, which costs more than it saves.
    """
    starts = iter(range(0, len(vectors), size))  # shared by the threads: each takes the next block

    def take_blocks(_: int = 0) -> None:
        for start in starts:
            rows = vectors[start : start + size]
            count = len(rows)
            if count < size:
                rows = torch.cat([rows, rows.new_zeros(size - count, rows.shape[1])])
            work(start, rows, count)

    threads = torch.get_num_threads()
    if threads == 1 or vectors.device.type != "cpu" or len(vectors) <= size:
        take_blocks()
        return
    with _lock:
        pool = _pool(threads)
    list(pool.map(take_blocks, range(threads)))


def on_all_cores(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """The result of each item, in their order; as many at a time as torch has threads, each with one thread of its own,
    so that the bits of a result do not depend on their number. At most twice as many results wait for the consumer.

    Nothing waits by spinning: another busy process takes no more than its share.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return map(work, items)
    with _lock:
        pool = _pool(threads)
    return map_ahead(lambda item: pool.submit(work, item), items, 2 * threads - 1)


def on_one_core(work: Callable[[], R]) -> R:
    """The result of `work`, computed by one torch thread, so that its bits do not depend on their number."""
    return next(iter(on_all_cores(lambda _: work(), [None])))


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads in each of which torch uses one thread. `set_num_threads` also sets the default for threads in which
    torch has not run yet: so each thread runs torch once while the default is one, and then the default is restored."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="fuseid-blocks")
    together = Barrier(threads)

    def single_threaded(_: int) -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()
        together.wait()

    list(pool.map(single_threaded, range(threads)))
    torch.set_num_threads(threads)
    return pool
