"""A neighbour table on a cluster: groups of parts are compared by tasks, which get the parts they need through Ray's
object store."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import ray
import torch

from fuseid.pipelines.neighbourhood.row_files import Rows
from fuseid.pipelines.neighbourhood.runners import Work
from fuseid.pipelines.neighbourhood.search import Found, Read
from fuseid.ray_jobs.in_order import in_order
from fuseid.ray_jobs.runner import connect


class RayNeighbourRunner:
    """Tasks anywhere in the cluster. This process has the files; a part is in the object store while tasks need it, and
    as long after that as there is room for others."""

    name = "ray"

    def __init__(self, stored_bytes: int = 512 << 20) -> None:
        """stored_bytes: of the parts in the object store that no task needs any more."""
        self._stored_bytes = stored_bytes

    def run(self, work: Work, groups: Iterable[Sequence[int]], read: Read) -> Iterator[Found]:
        connect()
        shared = ray.put(work)
        stored = _Stored(read, self._stored_bytes)

        def start(group: Sequence[int]) -> Any:
            parts = work.needs(read, group)
            return _do.remote(shared, list(group), parts, [stored.ref(part) for part in parts])

        yield from in_order(groups, start, lambda group: f"parts {group[0]} to {group[-1]}")


class _Stored:
    """References to parts in the object store, those that were used last."""

    def __init__(self, read: Read, most_bytes: int) -> None:
        self._read = read
        self._left = most_bytes
        self._refs: OrderedDict[int, tuple[Any, int]] = OrderedDict()

    def ref(self, part: int) -> Any:
        if part not in self._refs:
            rows = self._read(part)
            size = rows.places_N.nbytes + rows.vectors_ND.nbytes
            self._refs[part] = ray.put(rows), size
            self._left -= size
            while self._left < 0 and len(self._refs) > 1:
                # Tasks that need it keep it.
                self._left += self._refs.popitem(last=False)[1][1]
        self._refs.move_to_end(part)
        return self._refs[part][0]


# Without Ray's own retries: a part that it needs may have left the store.
@ray.remote(num_cpus=1, max_retries=0)
def _do(work: Work, group: list[int], parts: list[int], refs: list[Any]) -> Found:
    # A group is worked on by one thread, whoever does it.
    torch.set_num_threads(1)
    stored = dict(zip(parts, refs, strict=True))

    def read(part: int) -> Rows:
        rows: Rows = ray.get(stored[part])
        # What Ray holds cannot be written to, which torch warns about.
        return Rows(rows.places_N, rows.vectors_ND.copy())

    return work(read, group)
