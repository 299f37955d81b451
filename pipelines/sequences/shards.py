"""Writes the files of one shard, the events of some users: the work that runners distribute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from fuseid.core.ahead import map_ahead
from fuseid.core.platform import usable_cores
from fuseid.pipelines.sequences.examples import examples_of
from fuseid.pipelines.sequences.histories import Histories
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import EVENTS, SPLITS, Options
from fuseid.pipelines.sequences.registry import format_named
from fuseid.pipelines.sequences.splits import targets_of

# The events of a shard: item is a number, time is in microseconds. Kept columns follow.
SHARD = pa.schema([("user_id", pa.string()), ("item", pa.int32()), ("time", pa.int64())])
Counts = dict[str, int]
# A shard takes some 150 MB of memory while it is written.
_MOST_THREADS = 4


@dataclass(frozen=True)
class Job:
    """The part of the work that is the same for all shards. train: one of `options.TRAIN`, or `options.EVENTS`."""

    format: str
    options: Options
    train: str
    shards: int


def write_shard(job: Job, items: Items, number: int, events: pa.Table, folder: Path) -> Counts:
    """events: of all users of this shard, `SHARD` and kept columns, in the order of the files."""
    histories = Histories.of(events)
    targets = targets_of(histories, job.options, job.train)
    kept = events.drop_columns(SHARD.names).combine_chunks()
    max_history = 0 if job.train == EVENTS else job.options.max_history
    chunks = examples_of(histories, targets, max_history, kept, number, job.shards)
    format_named(job.format).write(chunks, items, folder, number)
    with_example = np.unique(histories.user_E[np.concatenate(targets)])
    return {
        "users": len(histories.user_ids),
        "users_without_example": len(histories.user_ids) - len(with_example),
        "duplicates": histories.duplicates,
        **{split: len(events) for split, events in zip(SPLITS, targets, strict=True)},
    }


class ShardRunner(Protocol):
    """Yields the counts of every shard, in any order; then its files are in `folder`."""

    name: str

    def run(self, job: Job, items: Items, shards: Iterable[tuple[int, pa.Table]], folder: Path) -> Iterator[Counts]: ...


class LocalShardRunner:
    """Threads of this process; they run in parallel while Arrow and NumPy work."""

    name = "local"

    def run(self, job: Job, items: Items, shards: Iterable[tuple[int, pa.Table]], folder: Path) -> Iterator[Counts]:
        threads = min(usable_cores(), _MOST_THREADS)
        with ThreadPoolExecutor(threads) as pool:
            yield from map_ahead(
                lambda shard: pool.submit(write_shard, job, items, *shard, folder), shards, threads - 1
            )
