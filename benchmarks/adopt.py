"""Adopting IDs that are in production elsewhere:
`python benchmarks/adopt.py [--items 1000000] [--work DIR] [--json OUT]`.

Codebooks of three levels of 256 codes are learned on vectors of `--dim` numbers around `--centres` centres, and give
each of `--items` items its ID, a digit where codes are equal; the IDs are in one Parquet file. A database of the same
items is made directly with Lance: ids and vectors, with all indexes, no IDs. Then the command `fuseid adopt` runs in
copies of it: without codebooks, with the same file again, and with codebooks. With codebooks a sample of the vectors is
compared with them, all vectors are copied into the column `fused`, and from 50,000 vectors on a vector index of that
column is made, which is most of `maintain`.

seconds are those of the whole process with its imports, peak_mib is the memory of all its processes, stages are the
seconds that the run records.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.exports import content_ids
from benchmarks.processes import fuseid
from fuseid.apps.show import print_rows
from fuseid.pipelines.assignment.placement import base_texts
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed
from fuseid.tokenizers.buckets import bucket_ids
from fuseid.tokenizers.collisions import digits
from fuseid.tokenizers.rq_kmeans import RQKMeans

SIZES = (256, 256, 256)
_CHUNK = 100_000
_SAMPLE = 50_000


def vectors_of(numbers: np.ndarray, centres_CD: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(int(numbers[0]))
    noise = generator.standard_normal((len(numbers), centres_CD.shape[1]), np.float32)
    return centres_CD[generator.integers(0, len(centres_CD), len(numbers))] + 0.3 * noise


def make(work: Path, count: int, dim: int, centres: int) -> None:
    """`work`/db, ids.parquet and books.npz."""
    centres_CD = np.random.default_rng(0).standard_normal((centres, dim)).astype(np.float32)
    tokenizer = RQKMeans.fit(vectors_of(np.arange(_SAMPLE), centres_CD), SIZES, iterations=5, refinements=0, beam=1)
    np.savez(work / "books.npz", **{f"codebook_{n}": book.numpy() for n, book in enumerate(tokenizer.codebooks)})
    store = Store.create(work / "db")
    store.ensure_vectors({"external": dim})
    codes = []
    for start in range(0, count, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, count))
        vectors_ND = vectors_of(numbers, centres_CD)
        codes.append(tokenizer.encode(vectors_ND))
        table = store.dataset("contents")
        rows = {
            "content_id": content_ids(numbers),
            "kind": pa.array(["image"] * len(numbers)),
            "external": to_fixed(vectors_ND),
        }
        filled = [rows.get(field.name, pa.nulls(len(numbers), field.type)) for field in table.schema]
        lance.write_dataset(pa.Table.from_arrays(filled, schema=table.schema), table.uri, mode="append")
    maintain(store)
    codes_NL = np.concatenate(codes)
    buckets, first = bucket_ids(codes_NL)
    digits_N = digits(buckets, np.zeros(len(first), np.int64))
    texts = base_texts(codes_NL).to_pylist()
    sids = [f"{text}.{digit}" if digit else text for text, digit in zip(texts, digits_N.tolist(), strict=True)]
    order = np.random.default_rng(1).permutation(count)
    shuffled = pa.table({"content_id": content_ids(order), "sid": pa.array(sids).take(pa.array(order))})
    pq.write_table(shuffled, work / "ids.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--centres", type=int, default=20_000)
    parser.add_argument("--work", type=Path, help="keeps the files here and reuses existing ones")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fuseid-bench-") as name:
        work = (arguments.work or Path(name)) / f"adopt-{arguments.items}"
        if not work.exists():
            work.mkdir(parents=True)
            make(work, arguments.items, arguments.dim, arguments.centres)
        ids, books = work / "ids.parquet", work / "books.npz"

        def adopted(case: str, db: Path, *more: str | Path) -> None:
            run = fuseid("adopt", "--db", db, "--ids", ids, *more)
            stages = {stage: seconds for stage, seconds in run.output["seconds"].items() if seconds >= 0.05}
            row = {"case": case, "ids": arguments.items, "seconds": run.seconds, "ids_s": arguments.items / run.seconds}
            rows.append(row | {"peak_mib": run.peak_mib, "counts": run.output["counts"], "stages": stages})

        for case, more in (("IDs alone", ()), ("with codebooks", ("--codebooks", books))):
            db = Path(shutil.copytree(work / "db", Path(name) / case.replace(" ", "-")))
            adopted(case, db, *more)
            adopted(f"{case}, again", db, *more)
    print(f"{arguments.items:,} IDs of 3 x 256 codes, vectors of {arguments.dim} numbers")
    shown = [row | {"ids_s": f"{row['ids_s']:,.0f}", "peak_mib": f"{row['peak_mib']:,.0f}"} for row in rows]
    print_rows(shown, ("case", "ids", "seconds", "ids_s", "peak_mib", "stages"))
    if arguments.json:
        document = {"items": arguments.items, "dim": arguments.dim, "rows": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
