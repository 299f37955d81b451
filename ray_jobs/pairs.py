"""Pairs on a cluster: tasks get their events and sums through Ray's object store, and this process keeps the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray

from fuseid.ray_jobs.in_order import in_order
from fuseid.ray_jobs.runner import connect

T = TypeVar("T")
R = TypeVar("R")


class RayPairRunner:
    """What all pieces of a step need, such as the graph of swing, is put into the object store once."""

    name = "ray"

    def run(self, work: Callable[[T], R], pieces: Iterable[T]) -> Iterator[R]:
        connect()
        shared = ray.put(work)
        yield from in_order(pieces, lambda piece: _do.remote(shared, piece), lambda _: "a part of the pairs")


# Without Ray's own retries, for which it would keep every piece in its store to the end.
@ray.remote(num_cpus=1, max_retries=0)
def _do(work: Callable[[Any], Any], piece: Any) -> Any:
    return work(piece)
