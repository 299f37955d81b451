"""Seconds and memory of a learned fusion against the number of items: `python benchmarks/learned_fusion.py
[--rows N ...] [--pairs-per-item 10] [--epochs 2] [--work DIR] [--json OUT]`.

Items have vectors of 512 numbers and a taste, which their partners share. `fuseid ingest` takes the vectors into a
database; from there a process of its own fits a linear fusion and, with the pairs of a file, a learned one, with the
modules of `fuseid fit`; it fits no tokenizer. `begin_s` is all before the first epoch: the linear fusion, the pairs and
the rows. `epoch_s` is one epoch and its figures by the clock, `epoch_core_s` the same on all cores together.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.processes import fuseid, measured
from fuseid.apps.show import print_rows

DIM, PIECE, TASTES = 512, 50_000, 500
COLUMNS = (
    "rows",
    "pairs",
    "begin_s",
    "epoch_s",
    "epoch_core_s",
    "peak_mib",
    "anonymous_mib",
    "hit_before",
    "hit_after",
)


def names(first: int, count: int) -> list[str]:
    return [f"item-{number:08d}" for number in range(first, first + count)]


def write_database(rows: int, db: Path, scratch: Path) -> None:
    path, writer = scratch / "vectors.parquet", None
    centres = np.random.default_rng(7).standard_normal((TASTES, DIM), np.float32)
    for start in range(0, rows, PIECE):
        count = min(PIECE, rows - start)
        noise = np.random.default_rng(start).standard_normal((count, DIM), np.float32)
        values = pa.array((0.2 * centres[np.arange(start, start + count) % TASTES] + noise).reshape(-1))
        columns = {"content_id": names(start, count), "vector": pa.FixedSizeListArray.from_arrays(values, DIM)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    fuseid("ingest", "--db", db, "--vectors", path)
    path.unlink()


def write_pairs(rows: int, per_item: int, path: Path) -> None:
    """Each item with random ones of its taste."""
    rng, ids = np.random.default_rng(8), pa.array(names(0, rows))
    with pq.ParquetWriter(path, pa.schema([("content_id", pa.string()), ("partner_id", pa.string())])) as writer:
        for start in range(0, rows, PIECE):
            one = np.repeat(np.arange(start, min(rows, start + PIECE)), per_item)
            other = (one + TASTES * rng.integers(1, rows // TASTES, len(one))) % (rows // TASTES * TASTES)
            kept = one != other
            writer.write_table(pa.table({"content_id": ids.take(one[kept]), "partner_id": ids.take(other[kept])}))


def fit_once(db: str, pairs: str, epochs: int) -> dict[str, Any]:
    """In a process of its own."""
    from fuseid.core.config import Config, LearnedFusionConfig
    from fuseid.pipelines.assignment.fusion_fitting import fit_fusion
    from fuseid.pipelines.engagement.pairs_file import read_pairs
    from fuseid.pipelines.store.store import Store

    class Times:
        """Since when and until when epochs were learned: by the clock, and the seconds on all cores."""

        began = ended = (0.0, 0.0)

        def begin(self, stage: str, total: int | None) -> None:
            if stage == "learn":
                self.began = time.perf_counter(), time.process_time()

        def advance(self, stage: str, done: int) -> None:
            if stage == "learn":
                self.ended = time.perf_counter(), time.process_time()

    times, started = Times(), time.perf_counter()
    config = Config(fusion=LearnedFusionConfig(epochs=epochs, patience=epochs))
    known = read_pairs(pairs)
    fusion = fit_fusion(Store.open(db), config, times, known, [])
    history = fusion.meta["metrics"]["history"]
    clock, cores = ((end - start) / epochs for start, end in zip(times.began, times.ended, strict=True))
    return {
        "pairs": len(known), "begin_s": times.began[0] - started, "epoch_s": clock, "epoch_core_s": cores,
        "hit_before": history[0]["hit@10"], "hit_after": history[-1]["hit@10"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--pairs-per-item", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--work", type=Path, help="keeps the databases here and reuses existing ones")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--fit", nargs=2, metavar=("DB", "PAIRS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        print(json.dumps(fit_once(*arguments.fit, arguments.epochs)))
        return
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        work = arguments.work or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        for rows in arguments.rows:
            db, pairs = work / f"db-{rows}", work / f"pairs-{rows}-{arguments.pairs_per_item}.parquet"
            if not db.exists():
                write_database(rows, db, work)
            if not pairs.exists():
                write_pairs(rows, arguments.pairs_per_item, pairs)
            line = [sys.executable, __file__, "--epochs", str(arguments.epochs), "--fit", db, pairs]
            run = measured(line)
            memory = {"peak_mib": run.peak_mib, "anonymous_mib": run.peak("anonymous_mib")}
            found.append({"rows": rows, **run.output, **memory})
            print(json.dumps(found[-1]), file=sys.stderr)
    print_rows(found, COLUMNS)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
