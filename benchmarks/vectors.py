"""Ready-made vectors: how fast they are taken in, and the whole road from a file to a look-up.

`python benchmarks/vectors.py ingest [--rows 1000000] [--dim 256] [--repeats 3] [--json OUT]`: a Parquet file of float32
vectors, and then in turns, each in a process of its own, medians of `--repeats`: a plain Lance append of the file,
flushed to the disk as fuseid flushes; `fuseid ingest` into an empty database; the same again, with nothing changed; the
same vectors under a second name; a file in which 1% of the vectors differ. maintain_s: compaction and indexes. work_s:
without these and without imports; of_plain: how many times as long as the append.

`python benchmarks/vectors.py road [--rows 1000000 5000000] [--dim 128] [--json OUT]`: ingest, fit of 3 x 256 codes, IDs
for all items, indexes, two exports, look-ups, and an ingest that finds 1% more items; each command in a process of its
own, for each number of rows. s/M: seconds per million rows of the last number. growth: how many times as long the last
number takes as the first.

seconds: of the whole command, imports included; of a part of a command as its run recorded them. peak_mib: proportional
set size of all processes of the command, which includes pages of files that the kernel can drop; anonymous_mib: the
peak of memory that it cannot drop. scratch_mib: the most space that files under TMPDIR took. Sampled three times a
second. Vectors are mixtures with noise, as in `lookup.py`; a content_id is `item-` and ten digits, in no order.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.lookup import Mixtures
from benchmarks.processes import SAMPLE_SECONDS, Command, fuseid, measured
from fuseid.apps.show import print_rows
from fuseid.pipelines.store.durable import DurableTable
from fuseid.pipelines.store.vector_columns import to_fixed

_GROUP = 100_000
_VECTORS = Path(__file__).parents[2] / "shared/data/text_embeddings_60k_384.f16.npy"
# Every hundredth row is one of those that change.
_CHANGED = 100
_SPREAD = 1_000_003
# What `fuseid ingest` imports before it begins.
_START = "import fuseid.apps.cli, fuseid.pipelines.ingest, fuseid.pipelines.sources.vectors; print('{}')"


def write_vectors(path: Path, start: int, end: int, dim: int, changed: bool = False) -> None:
    """The vectors of items `start` to `end`. changed: 1% of them differ from those of another file."""
    source = _VECTORS if _VECTORS.exists() and dim <= 384 else None
    schema = pa.schema([("content_id", pa.string()), ("vector", pa.list_(pa.float32(), dim))])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for first in range(start, end, _GROUP):
            count = min(_GROUP, end - first)
            vectors = Mixtures(source, [1, first], dim).draw(count)
            if changed:
                vectors[::_CHANGED] = Mixtures(source, [2, first], dim).draw(-(-count // _CHANGED))
            writer.write_table(pa.table([content_ids(first, count), to_fixed(vectors)], schema=schema), _GROUP)


def content_ids(first: int, count: int) -> pa.Array:
    """Distinct for distinct numbers: the factor has no divisor in common with 10**10."""
    return pa.array([f"item-{number * _SPREAD % 10**10:010d}" for number in range(first, first + count)])


def append(file: Path, folder: Path) -> None:
    """In a process of its own: a plain Lance append, flushed to the disk."""
    import lance

    started = time.perf_counter()
    parquet = pq.ParquetFile(file)
    reader = pa.RecordBatchReader.from_batches(parquet.schema_arrow, parquet.iter_batches())
    lance.write_dataset(reader, folder)
    DurableTable(folder).sync()
    print(json.dumps({"seconds": {"total": time.perf_counter() - started}}))


def lookups(db: Path, rows: int, dim: int, queries: int = 50) -> None:
    """In a process of its own: the milliseconds of look-ups by item, by vector and by the first two codes of an ID."""
    from fuseid.pipelines.lookup import Catalog

    catalog = Catalog.open(db)
    numbers = np.random.default_rng(3).integers(0, rows, queries)
    ids = [content_ids(number, 1)[0].as_py() for number in numbers.tolist()]
    vectors = Mixtures(_VECTORS if _VECTORS.exists() else None, 4, dim).draw(queries)
    prefixes = [row["sid"].rpartition("-")[0] for row in catalog.items(ids, ["sid"])]
    size = catalog.search(like=ids[0], k=1, columns=["fused"])["fused"].type.list_size
    ways = {
        "by item": [{"like": name} for name in ids],
        # Of the same size as the fused ones; look-ups take vectors of that space.
        "by vector": [{"vector": vector[:size]} for vector in vectors],
        "by prefix": [{"sid": prefix} for prefix in prefixes],
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(queries):
        for name, wanted in ways.items():
            started = time.perf_counter()
            if not catalog.search(**wanted[number]).num_rows:
                raise RuntimeError(f"{wanted[number]} found nothing")
            spent[name].append(1e3 * (time.perf_counter() - started))
    print(json.dumps({name: statistics.median(times) for name, times in spent.items()}))


def ingest(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    (rows,), dim = arguments.rows, arguments.dim
    file, other = work / "vectors.parquet", work / "changed.parquet"
    write_vectors(file, 0, rows, dim)
    write_vectors(other, 0, rows, dim, changed=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.repeats):
        db, scratch = work / "db", work / "tmp"
        scratch.mkdir()

        def run(case: str, *more: str | Path, db: Path = db, scratch: Path = scratch) -> None:
            command = fuseid("ingest", "--db", db, *more, scratch=scratch)
            found.setdefault(case, []).append(case_row(case, command, rows))

        start = measured([sys.executable, "-c", _START])
        found.setdefault("start", []).append(case_row("start", start, rows))
        plain = measured([sys.executable, __file__, "append", file, work / "plain.lance"], scratch)
        found.setdefault("plain append", []).append(case_row("plain append", plain, rows))
        shutil.rmtree(work / "plain.lance")
        run("first ingest", "--vectors", file)
        run("nothing changed", "--vectors", file)
        run("a second name", "--vectors", file, "--as", "audio")
        run("1% changed", "--vectors", other)
        shutil.rmtree(db)
        shutil.rmtree(scratch)
    start, plain, *others = (middle(measurements) for measurements in found.values())
    for row in (plain, *others):
        # The append is timed from the first row that it reads.
        row["work_s"] = row["run_s"] if row is plain else row["seconds"] - start["seconds"] - row["maintain_s"]
        row["of_plain"] = row["work_s"] / plain["work_s"]
    return {"table": [plain, *others], "start_s": start["seconds"], "all": found}


def case_row(case: str, command: Command, rows: int) -> dict[str, Any]:
    seconds = command.output.get("seconds", {})
    run_s, maintain_s = seconds.get("total", 0.0), seconds.get("maintain", 0.0)
    return {
        "case": case, "seconds": command.seconds, "run_s": run_s, "maintain_s": maintain_s,
        "rows_s": rows / command.seconds,
        **peaks(command), "parts": seconds,
    }  # fmt: skip


def peaks(command: Command, start: float = 0.0, end: float = math.inf) -> dict[str, float]:
    names = {"peak_mib": "mib", "anonymous_mib": "anonymous_mib", "scratch_mib": "scratch_mib"}
    return {name: command.peak(field, start, end) for name, field in names.items()}


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of the median seconds, with the highest peaks."""
    row = sorted(rows, key=lambda row: row["seconds"])[(len(rows) - 1) // 2]
    return row | {name: max(one[name] for one in rows) for name in row if name.endswith("_mib")}


def road(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    found = {rows: dict(stages(rows, arguments.dim, work)) for rows in arguments.rows}
    few, many = min(found), max(found)
    table = []
    for stage, last in found[many].items():
        row: dict[str, Any] = {"stage": stage}
        for rows in found:
            took, size = found[rows][stage], f"{rows / 1e6:g}M"
            row |= {
                f"{size} s": took["seconds"],
                f"{size} MiB": took["peak_mib"],
                f"{size} anon": took["anonymous_mib"],
            }
        row |= {"s/M": last["seconds"] / many * 1e6, "tmp MiB": last["scratch_mib"]}
        table.append(row | {"growth": last["seconds"] / found[few][stage]["seconds"]})
    limit = many * math.log(many) / (few * math.log(few))
    return {"table": table, "n_log_n": limit, "stages": found}


def stages(rows: int, dim: int, work: Path) -> Iterator[tuple[str, dict[str, float]]]:
    source, db, scratch = work / "vectors", work / "db", work / "tmp"
    for folder in (source, scratch):
        folder.mkdir()
    write_vectors(source / "a.parquet", 0, rows, dim)

    def whole(name: str, command: Command) -> tuple[str, dict[str, float]]:
        return name, {"seconds": command.seconds, **peaks(command)}

    command = fuseid("ingest", "--vectors", source, "--db", db, scratch=scratch)
    yield whole("ingest", command)
    yield from parts("ingest", command, ("maintain",))
    command = fuseid("fit", "--codebooks", "256,256,256", "--db", db, scratch=scratch)
    yield whole("fit", command)
    yield from parts("fit", command, ("fit", "fuse", "assign", "maintain"))
    for name in ("parquet", "static"):
        line = ("export", "ids", "--db", db, "--format", name, "--out", work / "out")
        yield whole(f"export, {name}", fuseid(*line, scratch=scratch))
        shutil.rmtree(work / "out")
    command = measured([sys.executable, __file__, "lookups", db, str(rows), str(dim)], scratch)
    for name, milliseconds in command.output.items():
        yield f"look-up {name}", {"seconds": milliseconds / 1000, **peaks(command)}
    write_vectors(source / "b.parquet", rows, rows + rows // 100, dim)
    command = fuseid("ingest", "--vectors", source, "--db", db, scratch=scratch)
    if command.output["counts"]["committed"] != rows // 100:
        raise RuntimeError(f"not 1% is new: {command.output['counts']}")
    yield whole("ingest, 1% new", command)
    yield from parts("1% new", command, ("fuse", "assign", "maintain"))
    for folder in (source, db, scratch):
        shutil.rmtree(folder)


def parts(job: str, command: Command, names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, float]]]:
    """The last parts of a command, one after the other until its end, with the memory of that time."""
    seconds = command.output["seconds"]
    start = command.seconds - sum(seconds[name] for name in names)
    for name in names:
        end = start + seconds[name]
        yield (
            f"- {job}: {name}",
            {"seconds": seconds[name], **peaks(command, start - SAMPLE_SECONDS, end + SAMPLE_SECONDS)},
        )
        start = end


def main() -> None:
    if sys.argv[1:2] == ["append"]:
        return append(Path(sys.argv[2]), Path(sys.argv[3]))
    if sys.argv[1:2] == ["lookups"]:
        return lookups(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("ingest", "road"))
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--dim", type=int)
    parser.add_argument("--repeats", type=int, default=3, help="of the ingests")
    parser.add_argument("--work", type=Path, help="folder for files and databases; 10 times the vectors' size")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    is_road = arguments.what == "road"
    arguments.rows = arguments.rows or ([1_000_000, 5_000_000] if is_road else [1_000_000])
    arguments.dim = arguments.dim or (128 if is_road else 256)
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-", dir=arguments.work) as folder:
        measurements = (road if is_road else ingest)(arguments, Path(folder))
    cores = len(os.sched_getaffinity(0))
    print(f"{arguments.what}: {arguments.rows} rows of {arguments.dim} float32, {cores} cores")
    table = measurements["table"]
    if is_road:
        print(f"growth of N log N: {measurements['n_log_n']:.2f}")
    print_rows(table, [name for name in table[0] if name not in ("parts", "run_s")])
    if arguments.json:
        setup = {"what": arguments.what, "rows": arguments.rows, "dim": arguments.dim, "repeats": arguments.repeats}
        arguments.json.write_text(json.dumps(setup | measurements, indent=1) + "\n")


if __name__ == "__main__":
    main()
