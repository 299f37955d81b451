"""How fast one driver commits for a thousand workers: `python benchmarks/commits.py [--json OUT]`.

Uses the real list, planner, waves, committer, lease and Lance tables, but no media and no models: planned blocks come
back as finished ones, with random vectors and thumbnails, in the order in which `--workers` of different speed would
finish them, three blocks each. Each number of items has its own database and process.

rows_s: rows committed per second, including the key's index after each wave. first_s, last_s, most_s: seconds per
commit, medians of the first and last tenth, and the slowest; if last_s is larger than first_s, one driver no longer
keeps up. fed: number of workers of `--rate` items per second that such a driver can serve. peak_mib: peak memory of the
driver; base_mib: its memory before.
Compaction and the other indexes run once, after the last wave; no vector index is made.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa

from benchmarks.processes import own_peak_mib
from fuseid.apps.show import print_rows
from fuseid.core.config import load_config
from fuseid.core.schemas import DONE
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.ingestion.media_intake import MediaIntake
from fuseid.pipelines.ingestion.waves import Waves
from fuseid.pipelines.jobs.runs import writing_job
from fuseid.pipelines.sources.item import SourceItem
from fuseid.pipelines.store.indexes import compact, extend_key_index
from fuseid.pipelines.store.store import Store

DIM = 512
THUMBNAIL_BYTES = 4096
# Blocks assigned to an encoder at a time, as in ray_jobs/flow.py.
_DEPTH = 3


class Catalogue:
    """A source of `count` images that are never read."""

    def __init__(self, base: Path, count: int) -> None:
        self.base = base
        self._count = count

    def __iter__(self) -> Iterator[SourceItem]:
        for number in range(self._count):
            uri = f"{number % 1000:03d}/{number:09d}.jpg"
            yield SourceItem(
                f"item-{number:09d}", uri, f"a picture of thing {number % 9973} beside thing {number % 7919}"
            )


def in_order_of_workers(planned: Iterable[pa.RecordBatch], workers: int) -> Iterator[pa.RecordBatch]:
    """The planned blocks in the order in which workers of different speed finish them."""
    rng = np.random.default_rng(0)
    free = [(0.0, worker) for worker in range(workers)]
    pace = rng.lognormal(0.0, 0.3, workers)
    going: list[tuple[float, int, pa.RecordBatch]] = []
    for number, block in enumerate(planned):
        begins, worker = heapq.heappop(free)
        ends = begins + block.num_rows * pace[worker] * rng.lognormal(0.0, 0.3)
        heapq.heappush(free, (ends, worker))
        heapq.heappush(going, (ends, number, block))
        if len(going) >= _DEPTH * workers:
            yield heapq.heappop(going)[2]
    while going:
        yield heapq.heappop(going)[2]


def finished(block: pa.RecordBatch, rng: np.random.Generator) -> pa.RecordBatch:
    """WORK -> DONE, as if the block had been decoded and encoded."""
    rows = block.num_rows
    numbers = rng.standard_normal(rows * DIM, dtype=np.float32)
    noise = rng.bytes(rows * THUMBNAIL_BYTES)
    columns: dict[str, Any] = {name: block[name] for name in DONE.names}
    columns |= {
        "kind": pa.array(["image"] * rows),
        "source_stat": pa.array([f"100000+{rng.integers(1 << 60)}" for _ in range(rows)]),
        "thumbnail": pa.array([noise[i * THUMBNAIL_BYTES :][:THUMBNAIL_BYTES] for i in range(rows)], pa.binary()),
        "media_hash": pa.array([rng.bytes(16).hex() for _ in range(rows)]),
        "decoder": pa.array(["pillow"] * rows),
        "width": pa.array([512] * rows, pa.int32()),
        "height": pa.array([384] * rows, pa.int32()),
        "clip_image": pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * DIM, numbers),
    }
    return pa.record_batch([columns[name] for name in DONE.names], schema=DONE)


class Timed:
    """An iterable that counts the seconds spent in producing its items."""

    def __init__(self, items: Iterable[pa.RecordBatch]) -> None:
        self._items = iter(items)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            started = time.perf_counter()
            item = next(self._items, None)
            self.seconds += time.perf_counter() - started
            if item is None:
                return
            yield item


def simulate(items: int, workers: int, folder: str) -> dict[str, Any]:
    config = load_config(None, {"clip.model": f"fake:{DIM}"})
    rng = np.random.default_rng(0)
    commits: list[float] = []
    base_mib = own_peak_mib()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch, store = Path(name), Store.create(f"{name}/db")
        started = time.perf_counter()
        intake = MediaIntake(Catalogue(scratch, items), config, scratch)
        list_s = time.perf_counter() - started
        key_index_s = 0.0
        with writing_job(store, "ingest", config) as run:

            def committed(waves: int) -> None:
                nonlocal key_index_s
                commits.append(run.seconds["commit"] - sum(commits))
                began = time.perf_counter()
                extend_key_index(store, waves)
                key_index_s += time.perf_counter() - began

            intake.begin(store, run, {})
            waves = Waves(intake, config.run, run, committed)
            planned = Timed(intake.plan.work())
            for block in in_order_of_workers(planned, workers):
                waves.add(finished(block, rng))
                waves.commit_if_due()
            waves.end()
            peak_mib = own_peak_mib()
            dataset = store.dataset("contents")
            ids = dataset.to_table(columns=["content_id"])["content_id"]
            if not run.counts["committed"] == len(ids) == len(ids.unique()) == items:
                raise RuntimeError(f"{len(ids)} rows for {items} items: {run.counts}")
            fragments, versions = len(dataset.get_fragments()), len(dataset.versions())
            mib = size_mib(scratch / "db")
            started = time.perf_counter()
            compact(store)
            compact_s = time.perf_counter() - started
            started = time.perf_counter()
            maintain(store, vector_rows=items + 1)
            indexes_s = time.perf_counter() - started
        tenth = max(1, len(commits) // 10)
        return {
            "items": items, "list_s": list_s, "plan_s": planned.seconds, "commits": len(commits),
            "commit_s": sum(commits), "key_index_s": key_index_s, "rows_s": items / (sum(commits) + key_index_s),
            "first_s": statistics.median(commits[:tenth]), "last_s": statistics.median(commits[-tenth:]),
            "most_s": max(commits), "base_mib": base_mib, "peak_mib": peak_mib,
            "fragments": fragments, "versions": versions, "mib": mib,
            "compact_s": compact_s, "compacted": len(store.dataset("contents").get_fragments()),
            "compacted_mib": size_mib(scratch / "db"), "indexes_s": indexes_s, "seconds_per_commit": commits,
        }  # fmt: skip


def size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0, help="items per second of one worker, for `fed`")
    parser.add_argument("--work", type=Path, help="folder for the databases, some 13 GB for a million items")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-", dir=arguments.work) as folder:
        for items in arguments.items:
            # A separate process, so that its peak memory is that of this number of items.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                row = process.submit(simulate, items, arguments.workers, folder).result()
            rows.append(row | {"fed": round(row["rows_s"] / arguments.rate)})
    print(
        f"{arguments.workers} workers, vectors of {DIM}, thumbnails of {THUMBNAIL_BYTES} bytes; fed: at "
        f"{arguments.rate:g} items/s"
    )
    shown = [row | {"rows_s": f"{row['rows_s']:,.0f}"} for row in rows]
    speed = (
        "list_s",
        "plan_s",
        "commit_s",
        "key_index_s",
        "rows_s",
        "first_s",
        "last_s",
        "most_s",
        "fed",
        "base_mib",
        "peak_mib",
    )
    size = ("commits", "fragments", "versions", "mib", "compact_s", "compacted", "compacted_mib", "indexes_s")
    print_rows(shown, ("items", *speed))
    print_rows(shown, ("items", *size))
    if arguments.json:
        setup = {"workers": arguments.workers, "rate": arguments.rate, "dim": DIM, "thumbnail_bytes": THUMBNAIL_BYTES}
        arguments.json.write_text(json.dumps(setup | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
