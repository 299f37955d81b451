"""Who does the work of a neighbour table: the threads of this process here, tasks of a cluster in
`ray_jobs.neighbours`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from fuseid.core.parallel_blocks import on_all_cores
from fuseid.pipelines.neighbourhood.search import Found, Read


class Work(Protocol):
    """What is done with each group of parts; it can be pickled, and runs on one thread."""

    def needs(self, read: Read, group: Sequence[int]) -> list[int]:
        """The parts that it reads."""

    def __call__(self, read: Read, group: Sequence[int]) -> Found: ...


class NeighbourRunner(Protocol):
    """Yields the result of each group, in their order."""

    name: str

    def run(self, work: Work, groups: Iterable[Sequence[int]], read: Read) -> Iterator[Found]: ...


class LocalNeighbourRunner:
    """Threads of this process."""

    name = "local"

    def run(self, work: Work, groups: Iterable[Sequence[int]], read: Read) -> Iterator[Found]:
        return on_all_cores(lambda group: work(read, group), groups)
