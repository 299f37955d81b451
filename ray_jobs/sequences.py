"""Sequences on a cluster: shards are written by tasks, and their files come back to the driver."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from fuseid.core.errors import FuseidError
from fuseid.core.reasons import reason
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.shards import Counts, Job, write_shard
from fuseid.ray_jobs.pool import cause
from fuseid.ray_jobs.runner import connect

log = logging.getLogger("fuseid")
_MOST_TRIES = 5


class RayShardRunner:
    """Writes shards in tasks anywhere in the cluster. Events and files are passed through Ray's object store, so no
    shared folder is needed; the items are put there once."""

    name = "ray"

    def __init__(self, piece_bytes: int = 8 << 20) -> None:
        """piece_bytes: the size of the pieces in which files come back."""
        self._piece_bytes = piece_bytes

    def run(self, job: Job, items: Items, shards: Iterable[tuple[int, pa.Table]], folder: Path) -> Iterator[Counts]:
        connect()
        table = ray.put(items.table)
        at_once = max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = iter(shards)
        running: dict[Any, _Shard] = {}
        try:
            while True:
                while len(running) < at_once and (given := next(waiting, None)) is not None:
                    shard = _Shard(*given)
                    running[self._start(job, table, shard)] = shard
                if not running:
                    return
                ready: Any = ray.wait(list(running), num_returns=1)[0][0]
                try:
                    piece = ray.get(next(ready))
                except RayTaskError as error:
                    raise cause(error) from None
                except RayError as error:
                    shard = running.pop(ready)
                    # The task may still be running: perhaps only a piece that it has sent is lost.
                    ray.cancel(ready)
                    shard.forget(error)
                    running[self._start(job, table, shard)] = shard
                    continue
                if isinstance(piece, dict):
                    # The counts are the last result of a shard: all its files have arrived.
                    del running[ready]
                    yield piece
                else:
                    running[ready].append(folder, *piece)
        finally:
            for left in running:
                ray.cancel(left)

    def _start(self, job: Job, table: Any, shard: _Shard) -> Any:
        return _write.remote(job, table, shard.number, shard.events, self._piece_bytes)


@dataclass
class _Shard:
    """A shard that a task is writing, and those of its files of which pieces have arrived."""

    number: int
    events: pa.Table
    files: set[Path] = field(default_factory=set)
    tries: int = 1

    def append(self, folder: Path, name: str, piece: np.ndarray) -> None:
        path = folder / name
        self.files.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(piece.data)

    def forget(self, error: RayError) -> None:
        """Deletes what has arrived, so that the shard can be written again after its task died or a piece was lost.
        Raises FuseidError after the last try."""
        if self.tries == _MOST_TRIES:
            raise FuseidError(f"shard {self.number} was lost {self.tries} times over: {reason(error)}") from None
        log.warning("shard %d is given out again: %s", self.number, reason(error))
        self.tries += 1
        for path in self.files:
            path.unlink()
        self.files.clear()


# Without Ray's own retries, for which it would keep the events of every shard in its store to the end.
@ray.remote(num_cpus=1, num_returns="streaming", max_retries=0)
def _write(
    job: Job, table: pa.Table, number: int, events: pa.Table, piece_bytes: int
) -> Iterator[tuple[str, np.ndarray] | Counts]:
    """Yields pieces of files, (name, bytes), those of one file in order; at the end the counts."""
    with tempfile.TemporaryDirectory(prefix="fuseid-shard-") as directory:
        folder = Path(directory)
        counts = write_shard(job, Items(table), number, events, folder)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            for start in range(0, path.stat().st_size, piece_bytes):
                yield name, np.fromfile(path, np.uint8, piece_bytes, offset=start)
            path.unlink()
    yield counts
