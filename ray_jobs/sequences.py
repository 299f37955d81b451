"""Sequences on a cluster; as a job `python -m fuseid.ray_jobs.sequences --db DB ...`, with the options of `fuseid`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.shards import Counts, Job, write_shard
from fuseid.ray_jobs import command
from fuseid.ray_jobs.pool import cause
from fuseid.ray_jobs.runner import connect


class RayRunner:
    """Shards as tasks, anywhere in the cluster: events go to them and files come back through the object store, so no
    folder is shared. The items are put there once."""

    name = "ray"

    def __init__(self, piece_bytes: int = 8 << 20) -> None:
        """piece_bytes: what a file comes back in at a time."""
        self._piece_bytes = piece_bytes

    def run(self, job: Job, items: Items, shards: Iterable[tuple[int, pa.Table]], folder: Path) -> Iterator[Counts]:
        connect()
        table = ray.put(items.table)
        at_once = max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = iter(shards)
        running: list[Any] = []
        try:
            while True:
                while len(running) < at_once and (shard := next(waiting, None)) is not None:
                    running.append(_write.remote(job, table, *shard, self._piece_bytes))
                if not running:
                    return
                ready: Any = ray.wait(running, num_returns=1)[0][0]
                try:
                    piece = ray.get(next(ready))
                except StopIteration:
                    running.remove(ready)
                    continue
                except RayTaskError as error:
                    raise cause(error) from None
                if isinstance(piece, dict):
                    yield piece
                else:
                    _append(folder, *piece)
        finally:
            for left in running:
                ray.cancel(left)


@ray.remote(num_cpus=1, num_returns="streaming")
def _write(
    job: Job, table: pa.Table, number: int, events: pa.Table, piece_bytes: int
) -> Iterator[tuple[str, np.ndarray] | Counts]:
    """Pieces of files, (name, bytes), those of one file in order; at the end the counts."""
    with tempfile.TemporaryDirectory(prefix="fuseid-shard-") as directory:
        folder = Path(directory)
        counts = write_shard(job, Items(table), number, events, folder)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            for start in range(0, path.stat().st_size, piece_bytes):
                yield name, np.fromfile(path, np.uint8, piece_bytes, offset=start)
            path.unlink()
    yield counts


def _append(folder: Path, name: str, piece: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(piece.data)


if __name__ == "__main__":
    sys.argv.insert(1, "sequences")
    command.run("export")
