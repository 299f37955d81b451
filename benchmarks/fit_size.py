"""Seconds and memory of a fit against the number of items: `python benchmarks/fit_size.py --vectors FILE.npy [--rows N]
[--runner local-1|local-2|ray-1|ray-2|...] [--work DIR] [--json OUT] [--plot OUT.svg]`.

Items are made from real vectors: each is a random mix of a vector and one of its nearest neighbours, plus noise; by
principal components they have 256 numbers. `fuseid ingest` takes them into a database. From there a process of its own
fits the tokenizer on all of them, with the modules of `fuseid fit`; it does not give IDs. For each fit: seconds by the
clock and on the cores of all its processes, the peak memory of the driver and of the largest actor, and the id.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.processes import fuseid
from benchmarks.svg import Chart, write_svg
from fuseid.apps.charts import linear, logarithmic
from fuseid.apps.show import print_rows

DIM, NEIGHBOURS, NOISE, PIECE = 256, 8, 0.3, 50_000
RUNNERS = ("local-1", "local-2", "ray-1", "ray-2", "ray-3", "ray-8")
COLUMNS = ("rows", "runner", "read_s", "fit_s", "seconds", "core_s", "driver_mib", "worker_mib", "id")


class Items:
    """As many items as wanted, always the same ones, in pieces; those of a smaller number are the first of a larger."""

    def __init__(self, path: Path) -> None:
        vectors = np.load(path).astype(np.float32)
        vectors -= vectors.mean(0)
        axes = np.linalg.eigh(vectors.T @ vectors)[1][:, ::-1][:, :DIM]
        self._vectors = np.ascontiguousarray(vectors @ axes)
        self._near = _neighbours(self._vectors)
        self._spread = self._vectors.std(0)

    def piece(self, number: int) -> np.ndarray:
        """float32 [PIECE, DIM]"""
        rng = np.random.default_rng(number)
        rows = rng.integers(0, len(self._vectors), PIECE)
        near = self._near[rows, rng.integers(0, NEIGHBOURS, PIECE)]
        share = rng.random((PIECE, 1), np.float32)
        mixed = share * self._vectors[rows] + (1 - share) * self._vectors[near]
        return mixed + NOISE * self._spread * rng.standard_normal((PIECE, DIM), np.float32)


def _neighbours(vectors_ND: np.ndarray) -> np.ndarray:
    """int64 [N, NEIGHBOURS]: of a random part of 4,096 rows the nearest ones to each row."""
    some = np.random.default_rng(0).choice(len(vectors_ND), min(4096, len(vectors_ND)), replace=False)
    found = []
    for start in range(0, len(vectors_ND), 4096):
        part = vectors_ND[start : start + 4096]
        distances = np.square(vectors_ND[some]).sum(1) - 2 * part @ vectors_ND[some].T
        found.append(some[np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]])
    return np.concatenate(found)


def write_database(items: Items, rows: int, db: Path, scratch: Path) -> float:
    """-> the seconds of the ingest."""
    path, writer = scratch / "vectors.parquet", None
    for start in range(0, rows, PIECE):
        count = min(PIECE, rows - start)
        values = pa.array(items.piece(start // PIECE)[:count].reshape(-1))
        ids = [f"item-{number:08d}" for number in range(start, start + count)]
        table = pa.table({"content_id": ids, "vector": pa.FixedSizeListArray.from_arrays(values, DIM)})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    run = fuseid("ingest", "--db", db, "--vectors", path)
    path.unlink()
    return run.seconds


def fit_once(db: str, runner: str, sizes: list[int], iterations: int) -> dict[str, Any]:
    """In a process of its own."""
    import torch

    from fuseid.core.config import RQKMeansConfig
    from fuseid.encoders.fusion import Fusion
    from fuseid.pipelines.assignment.fit_blocks import LocalFitRunner
    from fuseid.pipelines.assignment.fit_rows import rows_of_tokenizer
    from fuseid.pipelines.jobs.progress import Stages
    from fuseid.pipelines.store.store import Store
    from fuseid.tokenizers.registry import TOKENIZERS

    name, _, workers = runner.partition("-")
    torch.set_num_threads(int(workers) if name == "local" else 1)
    if name == "ray":
        from fuseid.ray_jobs.fit import RayFitRunner
        from fuseid.ray_jobs.runner import connect

        connect()
        chosen: Any = RayFitRunner(int(workers))
    else:
        chosen = LocalFitRunner()
    store = Store.open(db)
    fusion = Fusion.identity("external", DIM, None)
    rows = rows_of_tokenizer(store, fusion, "all", codes=max(sizes))
    started = time.perf_counter()
    with chosen.blocks(rows, Stages()) as blocks:
        read = time.perf_counter() - started
        options = RQKMeansConfig(iterations=iterations).options()
        tokenizer = TOKENIZERS["rq-kmeans"].fit(blocks, sizes, seed=0, fusion=fusion.id, **options)
        seconds = time.perf_counter() - started
    r2 = tokenizer.meta["metrics"]["r2_per_level"][-1]
    return {"read_s": read, "fit_s": seconds - read, "seconds": seconds, "id": tokenizer.id, "r2": r2}


def measured(arguments: list[str]) -> dict[str, Any]:
    """The result of a fit with the time and the memory of its processes."""
    line = [sys.executable, __file__, *arguments]
    cores: dict[int, float] = {}
    peaks: dict[int, tuple[bool, float]] = {}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for each in (top := psutil.Process(process.pid), *top.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess, OSError):
                        times = each.cpu_times()
                        cores[each.pid] = times.user + times.system
                        if each.pid == process.pid or each.name().startswith("ray::_Fitter"):
                            before = peaks.get(each.pid, (False, 0.0))[1]
                            peaks[each.pid] = each.pid == process.pid, max(before, _peak_mib(each.pid))
            time.sleep(0.3)
        said, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(line)} ended with {process.returncode}: {errors[-2000:]}")
    drivers = [mib for driver, mib in peaks.values() if driver]
    workers = [mib for driver, mib in peaks.values() if not driver]
    memory = {"driver_mib": max(drivers), "worker_mib": max(workers, default=0.0)}
    return {**json.loads(said.splitlines()[-1]), "core_s": sum(cores.values()), **memory}


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # A process that has ended has none.
    return int(next((line.split()[1] for line in lines if line.startswith("VmHWM:")), 0)) / 1024


COLOURS = dict(zip(RUNNERS, ("#1f5f99", "#5aa0d8", "#b3541e", "#e0883f", "#7a7a7a", "#444444"), strict=True))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Two charts side by side: seconds on all cores together, and the memory of the largest process."""
    values = (
        ("core seconds", [row["core_s"] for row in rows], True),
        ("GiB of the largest process", [max(row["driver_mib"], row["worker_mib"]) / 1024 for row in rows], False),
    )
    sizes = [row["rows"] for row in rows]
    x = logarithmic("items", min(sizes), max(sizes), lambda value: f"{value:,.0f}")
    charts = []
    for title, heights, log in values:
        y = (
            logarithmic(title, min(heights), max(heights), lambda value: f"{value:,.0f}")
            if log
            else linear(title, 0.0, 2.0, lambda value: f"{value:g}", 4)
        )
        points = [(row["runner"], (row["rows"], height)) for row, height in zip(rows, heights, strict=True)]
        lines = {runner: sorted(at for of, at in points if of == runner) for runner in RUNNERS}
        charts.append(Chart(x, y, {runner: line for runner, line in lines.items() if line}))
    write_svg(path, charts, COLOURS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help=".npy of [N, D] with D of at least 256")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--runner", choices=RUNNERS, nargs="+", default=list(RUNNERS[:4]))
    parser.add_argument("--codebooks", type=int, nargs="+", default=[1024, 1024, 1024])
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--work", type=Path, help="keeps the databases here and reuses existing ones")
    parser.add_argument("--json", type=Path, help="adds the rows to those of this file, after each fit")
    parser.add_argument("--plot", type=Path, help="draws the rows of --json")
    parser.add_argument("--fit", nargs=2, metavar=("DB", "RUNNER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        print(json.dumps(fit_once(*arguments.fit, arguments.codebooks, arguments.iterations)))
        return
    rows: list[dict[str, Any]] = []
    if arguments.json and arguments.json.exists():
        rows = json.loads(arguments.json.read_text())
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        work = arguments.work or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        items = None
        for count in arguments.rows if arguments.vectors else ():
            db = work / f"db-{count}"
            if not db.exists():
                items = items or Items(arguments.vectors)
                print(f"{count} items: ingest of {write_database(items, count, db, work):.0f} s", file=sys.stderr)
            for runner in arguments.runner:
                settings = ["--codebooks", *map(str, arguments.codebooks), "--iterations", str(arguments.iterations)]
                found = measured([*settings, "--fit", str(db), runner])
                rows.append({"rows": count, "runner": runner, "iterations": arguments.iterations, **found})
                print(json.dumps(rows[-1]), file=sys.stderr)
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print_rows(rows, COLUMNS)
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
