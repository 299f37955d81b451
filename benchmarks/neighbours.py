"""The neighbours of all items, beside FAISS: `python benchmarks/neighbours.py --work FOLDER [--json OUT]`.

The database is made once under `--work` and kept there; `--rows` vectors of 256 numbers, mixtures of two rows of
`--vectors` with noise, as in lookup.py. Each system runs in a process of its own, with as many threads as there are
cores.

`fuseid`: `fuseid neighbours`, from the database to the Parquet files. `faiss-ivf`: IndexIVFFlat of FAISS by inner
product over the same vectors in memory, with as many lists as fuseid has partitions, trained on as many rows; its
probes are the least that reach the recall on the canaries below. It only has to search: nothing is read from a
database, nothing is written. It searches the first `--faiss-queries` rows, and its search_s and search_cpu_s are
multiplied up to all rows.

recall: of 500 rows, the share of their true neighbours that a system finds, by an exact scan of this script. cpu_s: of
all threads. The machine may be busy with other work: compare cpu_s. peak_gib: the largest resident memory, with that of
imported libraries (start_gib).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.lookup import DIM, Mixtures
from fuseid.apps.show import print_rows
from fuseid.core.schemas import contents_schema
from fuseid.core.waiting import wait_passively
from fuseid.pipelines.neighbours import neighbours
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import nan_rows, to_fixed

_BLOCK = 50_000
_CANARIES = 500


def make(uri: str, rows: int, vectors: Path | None) -> None:
    store = Store.create(uri)
    schema = contents_schema({"fused": DIM})
    mixtures = Mixtures(vectors, 1)
    for start in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - start)
        columns = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
        columns |= {
            # Not in the order of the table.
            "content_id": pa.array([f"item-{number * 7919 % rows:08d}" for number in range(start, start + count)]),
            "kind": pa.array(["text"] * count),
            "fused": to_fixed(mixtures.draw(count)),
        }
        lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"), mode="append")
    store.put_settings({"champion": "rq_kmeans-0000000000000000"}, store.settings())


def read(uri: str) -> tuple[np.ndarray, list[str]]:
    rows = Store.open(uri).dataset("contents").to_table(columns=["content_id", "fused"])
    return nan_rows(rows["fused"], DIM), rows["content_id"].to_pylist()


def true_neighbours(vectors: np.ndarray, k: int) -> np.ndarray:
    """int [_CANARIES, k]: of the first rows."""
    kept = np.empty((_CANARIES, 0), np.float32), np.empty((_CANARIES, 0), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        scores = vectors[:_CANARIES] @ vectors[start : start + _BLOCK].T
        if start == 0:
            np.fill_diagonal(scores, -np.inf)
        both = np.concatenate([kept[0], scores], axis=1)
        places = np.concatenate([kept[1], np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)], 1)
        top = np.argpartition(-both, k, axis=1)[:, :k]
        kept = np.take_along_axis(both, top, 1), np.take_along_axis(places, top, 1)
    return kept[1]


def by_fuseid(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    out = folder / f"near-{os.getpid()}"
    stages: dict[str, float] = {}

    class Stages:
        def begin(self, stage: str, total: int | None) -> None:
            stages[stage] = time.perf_counter()

        def advance(self, stage: str, done: int) -> None:
            pass

    begun = time.perf_counter()
    manifest = neighbours(str(folder / "db"), out, arguments.k, recall=arguments.recall, progress=Stages())
    return {
        "out": str(out),
        "seconds": time.perf_counter() - begun,
        "search_s": stages["write"] - stages["search"],
        **{name: manifest[name] for name in ("partitions", "probes")},
        "said_recall": manifest["recall"]["value"],
    }


def by_faiss(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    import faiss

    vectors, _ = read(str(folder / "db"))
    true = np.load(folder / f"true-{arguments.k}.npy")
    begun = time.perf_counter()
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIM), DIM, arguments.lists, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors[: 64 * arguments.lists])
    index.add(vectors)
    made = time.perf_counter() - begun
    low, high = 1, arguments.lists
    while low < high:
        index.nprobe = (low + high) // 2
        low, high = (
            (low, index.nprobe) if _share(index, vectors, true) >= arguments.recall else (index.nprobe + 1, high)
        )
    index.nprobe = low
    queries = min(arguments.faiss_queries, len(vectors))
    begun, cpu = time.perf_counter(), time.process_time()
    index.search(vectors[:queries], arguments.k + 1)
    scale = len(vectors) / queries
    searched, cpu = scale * (time.perf_counter() - begun), scale * (time.process_time() - cpu)
    return {
        "seconds": made + searched,
        "search_s": searched,
        "search_cpu_s": cpu,
        "partitions": arguments.lists,
        "probes": low,
        "recall": _share(index, vectors, true),
    }


def _share(index: Any, vectors: np.ndarray, true: np.ndarray) -> float:
    found = index.search(vectors[: len(true)], true.shape[1] + 1)[1]
    return float(np.mean([len(set(one) & set(other)) / len(other) for one, other in zip(found, true, strict=True)]))


def recall_of(out: Path, true: np.ndarray, ids: list[str]) -> float:
    """Of a table, by the ids of its rows in the order of the vectors."""
    wanted = {ids[row]: {ids[each] for each in true[row]} for row in range(len(true))}
    shares = []
    for shard in sorted(out.glob("*.parquet")):
        rows = pq.read_table(shard, columns=["content_id", "neighbours"], filters=[("content_id", "in", list(wanted))])
        shares += [len(wanted[row["content_id"]] & set(row["neighbours"])) / true.shape[1] for row in rows.to_pylist()]
    if len(shares) != len(true):
        raise RuntimeError("the table lacks rows")
    return float(np.mean(shares))


def peak_gib() -> float:
    # `getrusage` would count the process that has started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / (1 << 20)


def child(arguments: argparse.Namespace, folder: Path) -> None:
    wait_passively()
    start = peak_gib()
    cpu = time.process_time()
    row = {"fuseid": by_fuseid, "faiss-ivf": by_faiss}[arguments.system](arguments, folder)
    row.setdefault("cpu_s", time.process_time() - cpu)
    facts = {"system": arguments.system, "rows": arguments.rows, **row, "start_gib": start, "peak_gib": peak_gib()}
    print(json.dumps(facts))


def run(system: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--system", system, *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--vectors", type=Path, default=Path("../shared/data/text_embeddings_60k_384.f16.npy"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the database, 1.1 GB for a million items")
    parser.add_argument("--faiss-queries", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    parser.add_argument("--system", help=argparse.SUPPRESS)
    parser.add_argument("--lists", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.work / f"neighbours-{arguments.rows}"
    if arguments.system:
        child(arguments, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "made").exists():
        make(str(folder / "db"), arguments.rows, arguments.vectors if arguments.vectors.exists() else None)
        (folder / "made").touch()
    vectors, ids = read(str(folder / "db"))
    true = true_neighbours(vectors, arguments.k)
    np.save(folder / f"true-{arguments.k}.npy", true)
    del vectors
    ours = run("fuseid")
    ours["recall"] = recall_of(Path(ours.pop("out")), true, ids)
    rows = [ours, run("faiss-ivf", "--lists", str(ours["partitions"]))]
    columns = (
        "system", "rows", "recall", "seconds", "search_s", "cpu_s", "search_cpu_s", "partitions", "probes", "start_gib",
        "peak_gib",
    )  # fmt: skip
    print_rows(rows, columns)
    if arguments.json:
        arguments.json.write_text(json.dumps({"dim": DIM, "k": arguments.k, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
