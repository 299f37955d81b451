"""Events to sequences, with fuseid and with DuckDB: `python benchmarks/sequences.py --work FOLDER`.

Made once under `--work` and kept there: a database of `--items` items, and `--events` events of them in one Parquet
file, unsorted; items follow Zipf's law, users have a skewed distribution too. Then three commands run one after the
other, each measured from start to end with the peak memory of all its processes: `fuseid export sequences --format
parquet` with the local and with the Ray runner, and DuckDB, which joins the same events with the same IDs (a Parquet
file of `fuseid export ids`), drops copies, sorts each user's events by time, and writes the same examples to Parquet,
with one thread per core. `--train prefix` makes every event an example whose history is all events before it, `last`
one example per user and split. The numbers of examples must be equal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
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

from benchmarks.processes import fuseid, memory_mib
from fuseid.apps.show import print_rows

DIM = 16
_SAMPLE_SECONDS = 0.3
_CHUNK = 1 << 20
START = 1_700_000_000
# The same histories as fuseid's: distinct events, each user's sorted by time; the last one is for the test split, the
# one before it for validation. Events of one user at the same time are in DuckDB's own order.
_SQL = """
SET threads = {threads}; SET memory_limit = '{memory}'; SET temp_directory = '{scratch}';
SET preserve_insertion_order = false;
COPY (
  WITH events AS (
    SELECT DISTINCT user_id, content_id, timestamp FROM read_parquet('{events}')
  ), joined AS (
    SELECT e.user_id, e.content_id, e.timestamp, list_append(i.codes, coalesce(i.suffix, 0)) AS codes
    FROM events e JOIN read_parquet('{ids}') i USING (content_id)
  ), placed AS (
    SELECT *, row_number() OVER last_first AS from_end,
      list(content_id) OVER before AS items, list(codes) OVER before AS item_codes, list(timestamp) OVER before AS times
    FROM joined
    WINDOW last_first AS (PARTITION BY user_id ORDER BY timestamp DESC, content_id DESC),
      before AS (PARTITION BY user_id ORDER BY timestamp, content_id ROWS BETWEEN {history} PRECEDING AND 1 PRECEDING)
  )
  SELECT user_id, CASE from_end WHEN 1 THEN 'test' WHEN 2 THEN 'valid' ELSE 'train' END AS split, items,
    item_codes AS codes, times AS timestamps, content_id AS target, codes AS target_codes,
    timestamp AS target_timestamp
  FROM placed WHERE len(items) > 0 AND ({chosen})
) TO '{out}' (FORMAT parquet, COMPRESSION zstd, PER_THREAD_OUTPUT true);
SELECT split, count(*) FROM read_parquet('{out}/*.parquet') GROUP BY split;
"""


def make_database(work: Path, items: int) -> tuple[Path, Path]:
    """A database with this number of items, and the Parquet file of their IDs."""
    db, ids = work / f"db-{items}", work / f"ids-{items}"
    if not ids.is_dir():
        shutil.rmtree(db, ignore_errors=True)
        generator = np.random.default_rng(0)
        vectors = work / "vectors.npy"
        np.save(vectors, generator.normal(size=(items, DIM)).astype(np.float32))
        vectors.with_suffix(".ids.txt").write_text("".join(f"item-{number:08d}\n" for number in range(items)))
        fuseid("ingest", "--db", db, "--vectors", vectors)
        fuseid("fit", "--db", db, "--codebooks", "256,256,256")
        fuseid("export", "ids", "--db", db, "--out", ids)
    return db, ids


def make_events(work: Path, events: int, items: int, users: int) -> Path:
    path = work / f"events-{events}-{items}-{users}.parquet"
    if path.is_file():
        return path
    generator = np.random.default_rng(1)
    schema = pa.schema(
        [("user_id", pa.string()), ("content_id", pa.string()), ("timestamp", pa.timestamp("us", "UTC"))]
    )
    with pq.ParquetWriter(path.with_suffix(".part"), schema, compression="zstd") as writer:
        for start in range(0, events, _CHUNK):
            rows = min(_CHUNK, events - start)
            item_N = np.minimum(generator.zipf(1.2, rows) - 1, generator.integers(0, items, rows)) % items
            user_N = (users * generator.random(rows) ** 1.5).astype(np.int64)
            times = START * 10**6 + generator.integers(0, 10**14, rows)
            columns = [
                pa.array([f"user-{user:08d}" for user in user_N.tolist()]),
                pa.array([f"item-{item:08d}" for item in item_N.tolist()]),
                pa.array(times).cast(schema.field("timestamp").type),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    path.with_suffix(".part").rename(path)
    return path


def by_fuseid(db: Path, events: Path, out: Path, runner: str, train: str, history: int) -> dict[str, Any]:
    options = ["--train", train, "--max-history", str(history), "--runner", runner]
    run = fuseid("export", "sequences", "--db", db, "--interactions", events, "--out", out, *options)
    return {"seconds": run.seconds, "peak_mib": run.peak_mib, "examples": run.output["examples"]}


def by_duckdb(ids: Path, events: Path, out: Path, train: str, history: int, memory: str) -> dict[str, Any]:
    """Runs in a separate process, like a script that imports only DuckDB."""
    out.mkdir()
    scratch = out.with_name("duckdb-scratch")
    chosen = "true" if train == "prefix" else "from_end <= 3"
    sql = _SQL.format(
        threads=os.cpu_count(), memory=memory, scratch=scratch, events=events, ids=ids / "*.parquet", history=history,
        chosen=chosen, out=out,
    )  # fmt: skip
    script = "import sys, json, duckdb; print(json.dumps(dict(duckdb.connect().execute(sys.stdin.read()).fetchall())))"
    started, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=answer, stderr=errors, text=True
        ) as process:
            assert process.stdin is not None
            process.stdin.write(sql)
            process.stdin.close()
            while process.poll() is None:
                peak = max(peak, memory_mib(process.pid))
                time.sleep(_SAMPLE_SECONDS)
        seconds = time.perf_counter() - started
        answer.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"DuckDB ended with {process.returncode}: {errors.read()[-2000:]}")
        examples = json.loads(answer.read().splitlines()[-1])
    shutil.rmtree(scratch, ignore_errors=True)
    return {"seconds": seconds, "peak_mib": peak, "examples": examples}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--history", type=int, default=20, help="events of a history at most")
    parser.add_argument("--train", choices=("prefix", "last"), default="prefix")
    parser.add_argument("--rounds", type=int, default=3, help="medians of these")
    parser.add_argument("--memory", default="1800MB", help="DuckDB's own limit, beyond which it spills")
    parser.add_argument("--only", nargs="*", default=("local", "ray", "duckdb"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the database and the events, kept")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    db, ids = make_database(work, arguments.items)
    events = make_events(work, arguments.events, arguments.items, arguments.users)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
    for _ in range(arguments.rounds):
        for name in arguments.only:
            out = work / f"out-{name}"
            shutil.rmtree(out, ignore_errors=True)
            if name == "duckdb":
                run = by_duckdb(ids, events, out, arguments.train, arguments.history, arguments.memory)
            else:
                run = by_fuseid(db, events, out, name, arguments.train, arguments.history)
            run["mib_written"] = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2**20
            shutil.rmtree(out)
            runs[name].append(run)
    rows = []
    for name, several in runs.items():
        seconds = statistics.median(run["seconds"] for run in several)
        row = {"who": name if name == "duckdb" else f"fuseid, {name}", "seconds": seconds}
        row |= {"events_s": arguments.events / seconds, "peak_mib": max(run["peak_mib"] for run in several)}
        rows.append(row | {"mib_written": several[0]["mib_written"], "examples": several[0]["examples"]})
    if len({json.dumps(row["examples"], sort_keys=True) for row in rows}) > 1:
        raise RuntimeError(f"they did not make the same examples: {rows}")
    print(
        f"{arguments.events:,} events, {arguments.items:,} items, {arguments.users:,} users, "
        f"--train {arguments.train}, histories of {arguments.history} at most; {os.cpu_count()} cores, "
        f"median of {arguments.rounds}"
    )
    shown = [row | {"events_s": f"{row['events_s']:,.0f}", "peak_mib": f"{row['peak_mib']:,.0f}"} for row in rows]
    print_rows(shown, ("who", "seconds", "events_s", "peak_mib", "mib_written", "examples"))
    if arguments.json:
        names = ("events", "items", "users", "history", "train", "rounds")
        document = {name: getattr(arguments, name) for name in names} | {"rows": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
