"""Who does the work of pairs: the threads of this process here, tasks of a cluster in `ray_jobs.pairs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from fuseid.core.ahead import map_ahead
from fuseid.core.platform import usable_cores

T = TypeVar("T")
R = TypeVar("R")
# A piece of work takes up to 200 MB of memory.
_MOST_THREADS = 4


class PairRunner(Protocol):
    """Yields the result of each piece, in their order; work and pieces can be pickled."""

    name: str

    def run(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]: ...


class LocalPairRunner:
    """Threads of this process; they run in parallel while Arrow and NumPy work."""

    name = "local"

    def run(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        threads = min(usable_cores(), _MOST_THREADS)
        with ThreadPoolExecutor(threads) as pool:
            yield from map_ahead(lambda piece: pool.submit(work, piece), pieces, threads)
