"""What a learned fusion's IDs are worth to a recommender, beside those of others:
`python benchmarks/downstream.py --data movielens|FOLDER --work WORK [--seeds 3] [--keep neighbours]`.

The data are those of `benchmarks/kinds.py`. fuseid's commands run: `ingest --vectors`, `fit`, `pairs` of the events
before the test alone, `fit --pairs`, `export sequences`, and one `evaluate` of all IDs, whose examples, order and seeds
are the same for all:

semantic  the learned fusion, RQ-KMeans
linear    the linear fusion, RQ-KMeans
faiss     FAISS's ResidualQuantizer (beam 5) on the same vectors
shipped   another system's IDs, where FOLDER has some
random    the learned fusion's IDs, permuted
sasrec    a recommender without IDs

Printed first: the smallest difference that the test can detect, 2.8 standard errors of the difference to `linear` (a
power of 80% at 5%).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.kinds import write_histories, write_products, write_shipped
from benchmarks.movielens import DATA, RATINGS, fitted, texts, unpacked, write_interactions, write_vectors
from benchmarks.processes import fuseid
from benchmarks.tokenizers import unpacked_codes
from fuseid.apps.evaluate_text import print_evaluation

_FAISS_BEAM = 5
# Of a normal distribution: 1.96 for a false alarm in 20, 0.84 for a miss in 5.
_DETECTABLE, _HALF_INTERVAL = 2.8, 1.96


def write_faiss(vectors: Path, sizes: tuple[int, ...], work: Path) -> Path:
    """content_id and codes of each vector."""
    table = pq.read_table(vectors)
    flat = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1).astype(np.float32)
    unit = np.ascontiguousarray(flat / np.linalg.norm(flat, axis=1, keepdims=True))
    bits = faiss.UInt64Vector()
    for size in sizes:
        bits.push_back(size.bit_length() - 1)
    quantizer = faiss.ResidualQuantizer(unit.shape[1], bits)
    quantizer.max_beam_size = _FAISS_BEAM
    quantizer.train(unit)
    codes = unpacked_codes(quantizer.compute_codes(unit), sizes)
    path = work / "faiss.parquet"
    pq.write_table(pa.table({"content_id": table["content_id"], "codes": codes.tolist()}), path)
    return path


def run(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    db, files = work / "db", []
    if arguments.data == "movielens":
        data = unpacked(work, RATINGS, DATA)
        vectors, interactions = write_vectors(work, texts(data)), write_interactions(work, data, arguments.cold)
        split, limit = ["--split", "leave-one-out"], ["--leave-out", "2"]
    else:
        folder = Path(arguments.data)
        vectors = write_products(folder, work)
        files.append(write_shipped(folder, work))
        interactions, cuts = write_histories(folder, work)
        split, limit = ["--split", "by-time", "--cuts", cuts], ["--until", cuts.rpartition(",")[2]]
    sizes = tuple(map(int, arguments.codebooks.split(",")))
    files.append(write_faiss(vectors, sizes, work))
    fuseid("ingest", "--db", db, "--vectors", vectors)
    linear = fitted(db, arguments.codebooks, "--cold")
    pairs = work / "pairs.parquet"
    made = ["--method", arguments.method, "--least", str(arguments.least), *limit]
    fuseid("pairs", "--interactions", interactions, "--out", pairs, "--db", db, *made)
    config = work / "learned.yaml"
    kept = {"keep": arguments.keep, "keep_content": arguments.keep_content}
    config.write_text(yaml.safe_dump({"fusion": {"kind": "learned", **kept}}))
    learned = fitted(db, arguments.codebooks, "--cold", "--pairs", pairs, "--config", config)
    sequences = work / "sequences"
    chosen = ["--tokenizer", learned, "--format", "parquet", "--runner", "local", *split]
    fuseid("export", "sequences", "--db", db, "--interactions", interactions, "--out", sequences, *chosen)
    others = [part for name in ("random", "sasrec", linear) for part in ("--against", name)]
    others += [part for file in files for part in ("--ids", file)]
    seeds = ["--seeds", str(arguments.seeds), "--setting", arguments.setting]
    found = fuseid("evaluate", "--db", db, "--sequences", sequences, *seeds, *others).output
    return json.loads(json.dumps(found).replace(linear, "linear"))


def print_detectable(document: dict[str, Any]) -> None:
    for row in document["differences"]:
        if (row["slice"], row["against"]) == ("all", "linear"):
            error = (row["high"] - row["low"]) / 2 / _HALF_INTERVAL
            print(
                f"smallest difference of {row['measure']} that can be detected: {100 * _DETECTABLE * error:.2f} points"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="movielens, or a folder of products")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for what is made")
    parser.add_argument("--codebooks", default="256,256,256")
    parser.add_argument("--cold", type=float, default=0.0, help="movielens: share of movies that are made new")
    parser.add_argument("--method", default="window", help="of `fuseid pairs`")
    parser.add_argument("--least", type=int, default=1, help="users that a pair has at least")
    parser.add_argument("--keep", default="neighbours", help="fusion.keep: vectors or neighbours")
    parser.add_argument("--keep-content", type=float, default=5.0, help="fusion.keep_content")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--setting", default="tiny")
    parser.add_argument("--json", type=Path, help="also write the document as JSON")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    document = run(arguments.work, arguments)
    print_detectable(document)
    print_evaluation(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
