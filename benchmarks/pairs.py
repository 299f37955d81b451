"""Pairs of items from events, by every method and both runners: `python benchmarks/pairs.py --work FOLDER`.

Events are made once under `--work` and kept there: `--events` of them in one Parquet file, unsorted; items follow
Zipf's law, users have a skewed distribution, too. Then `fuseid pairs` runs once for each method and runner, measured
from start to end: seconds, the peak memory of all its processes, the most disk that it used beside its output. For
`window` DuckDB does the same in SQL, and must find as many pairs. With `--scale`, the local runner also works on a
tenth of the events, to see what grows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import pyarrow.parquet as pq

from benchmarks.processes import fuseid, measured
from benchmarks.sequences import make_events
from fuseid.apps.show import print_rows

METHODS = ("window", "swing", "cooccurrence")
WINDOW, LEAST, MOST, HISTORY = 5, 2, 50, 500
_SQL = f"""
SET threads = {{threads}}; SET memory_limit = '{{memory}}'; SET temp_directory = '{{scratch}}';
SET preserve_insertion_order = false; SET max_temp_directory_size = '20GB';
COPY (
  WITH events AS (SELECT DISTINCT user_id, content_id, timestamp FROM read_parquet('{{events}}')),
  placed AS (SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY timestamp DESC) AS place FROM events),
  used AS (SELECT * FROM placed WHERE place <= {HISTORY}),
  users AS (SELECT content_id, count(DISTINCT user_id) AS n FROM used GROUP BY content_id),
  nearby AS ({{nearby}}),
  close AS (
    SELECT DISTINCT user_id, least(a, b) AS one, greatest(a, b) AS other FROM nearby WHERE a <> b
  ),
  counted AS (SELECT one, other, count(*) AS n FROM close GROUP BY one, other HAVING count(*) >= {LEAST}),
  weighted AS (
    SELECT one, other, CAST(c.n / pow(CAST(i.n AS DOUBLE) * j.n, 0.5) AS FLOAT) AS weight
    FROM counted c JOIN users i ON i.content_id = one JOIN users j ON j.content_id = other
  ),
  both_ways AS (
    SELECT one, other, weight, one AS owner, other AS partner FROM weighted
    UNION ALL SELECT one, other, weight, other, one FROM weighted
  ),
  best AS (
    SELECT *, row_number() OVER (PARTITION BY owner ORDER BY weight DESC, partner) AS place FROM both_ways
  )
  SELECT DISTINCT one AS content_id, other AS partner_id, weight FROM best WHERE place <= {MOST}
  ORDER BY content_id, partner_id
) TO '{{out}}' (FORMAT parquet, COMPRESSION zstd);
"""
# A join of events with those that follow would make all pairs of a history before it drops the distant ones.
_NEARBY = """
    SELECT user_id, content_id AS a, lead(content_id, {distance}) OVER (PARTITION BY user_id ORDER BY place) AS b
    FROM used"""


def by_fuseid(events: Path, folder: Path, method: str, runner: str) -> dict[str, Any]:
    out = folder / "pairs.parquet"
    run = fuseid(
        "pairs", "--interactions", events, "--out", out, "--method", method, "--runner", runner, scratch=folder
    )
    counts = run.output["counts"]
    head, tail = (row for row in run.output["coverage"] if row["part"] in ("head", "tail"))
    return {
        "who": f"fuseid, {runner}", "method": method, "events": counts["events"], "seconds": run.seconds,
        "peak_mib": run.peak_mib, "scratch_mib": run.peak("scratch_mib"), "pairs": counts["pairs"],
        "head_covered": head["covered"], "tail_covered": tail["covered"],
        "fingerprint": run.output["fingerprint"],
    }  # fmt: skip


def by_duckdb(events: Path, folder: Path, memory: str) -> dict[str, Any]:
    out = folder / "pairs.parquet"
    nearby = " UNION ALL ".join(_NEARBY.format(distance=distance) for distance in range(1, WINDOW + 1))
    sql = _SQL.format(
        threads=os.cpu_count(), memory=memory, scratch=folder / "duckdb", events=events, nearby=nearby, out=out
    )
    script = "import sys, duckdb; duckdb.connect().execute(sys.argv[1]); print('{}')"
    run = measured([sys.executable, "-c", script, sql], scratch=folder)
    return {
        "who": "DuckDB", "method": "window", "events": pq.read_metadata(events).num_rows, "seconds": run.seconds,
        "peak_mib": run.peak_mib, "scratch_mib": run.peak("scratch_mib"), "pairs": pq.read_metadata(out).num_rows,
    }  # fmt: skip


def _cpu_seconds() -> float:
    """Of all children that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--only", nargs="*", default=("local", "ray", "duckdb"))
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--scale", action="store_true", help="also a tenth of the events, by the local runner")
    parser.add_argument("--memory", default="1800MB", help="DuckDB's own limit, beyond which it spills")
    parser.add_argument("--work", type=Path, required=True, help="folder for the events, kept")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    events = make_events(work, arguments.events, arguments.items, arguments.users)
    rows = []

    def note(run: Any, *given: Any) -> None:
        folder = work / "out"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        before = _cpu_seconds()
        row = run(*given[:1], folder, *given[1:])
        # Ray's processes are no children of the command.
        rows.append(row | {"cpu_s": None if "ray" in row["who"] else _cpu_seconds() - before})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        shutil.rmtree(folder)

    for method in arguments.methods:
        if arguments.scale:
            note(
                by_fuseid, make_events(work, arguments.events // 10, arguments.items, arguments.users), method, "local"
            )
        for runner in [name for name in ("local", "ray") if name in arguments.only]:
            note(by_fuseid, events, method, runner)
        made = [row for row in rows if row["method"] == method and row["events"] == arguments.events]
        if len({row["fingerprint"] for row in made}) > 1:
            raise RuntimeError(f"the runners did not make the same pairs: {made}")
        if method == "window" and "duckdb" in arguments.only:
            note(by_duckdb, events, arguments.memory)
            if made and abs(rows[-1]["pairs"] - made[0]["pairs"]) > 1e-4 * made[0]["pairs"]:
                raise RuntimeError(f"DuckDB did not find as many pairs: {rows[-1]['pairs']}, not {made[0]['pairs']}")
    print(f"{arguments.items:,} items, {arguments.users:,} users; {os.cpu_count()} cores")
    shown = [{**row, **{name: f"{row[name]:,.0f}" for name in ("peak_mib", "scratch_mib")}} for row in rows]
    columns = ("method", "who", "events", "seconds", "cpu_s", "peak_mib", "scratch_mib", "pairs", "head_covered")
    print_rows(shown, columns)
    if arguments.json:
        names = ("events", "items", "users")
        document = {name: getattr(arguments, name) for name in names} | {"rows": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
