"""What the kinds of tokenizers are worth to a recommender:
`python benchmarks/kinds.py --data movielens|FOLDER --work WORK [--kinds KINDS] [--codebooks 256,256,256]`.

`movielens` is fetched and embedded as `benchmarks/movielens.py` says. FOLDER holds a set of products: `items.parquet`
(item_id, title, shipped_codes: another system's codes), one `*.npy` of their vectors, and `sequences.parquet`, windows
(split `train` or `test`, user_id, history, target) in the order of time. One history per user is rebuilt from them: the
first window of a user gives its history, each window its target, at the time of its row; the last tenth of the training
rows is for validation.

fuseid's commands run: `ingest --vectors`, `fit --cold` for each kind, `adopt` for the shipped codes, `export
sequences`, and one `evaluate` of all of them, whose examples, order and seeds are the same for all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.movielens import DATA, RATINGS, fitted, texts, unpacked, write_interactions, write_vectors
from benchmarks.processes import fuseid
from fuseid.apps.evaluate_text import print_evaluation
from fuseid.core.config import RQKMeansConfig
from fuseid.core.variants import variants

KINDS = "rq-kmeans,rq-kmeans:last=fsq,rq-vae,fsq"
_ROW_SECONDS = 1000


def write_products(folder: Path, work: Path) -> Path:
    """content_id, caption and vector of each product."""
    path = work / "vectors.parquet"
    items = pq.read_table(folder / "items.parquet")
    [vectors] = folder.glob("*.npy")
    flat = np.load(vectors, allow_pickle=False).astype(np.float32)
    columns = {
        "content_id": [f"product-{number}" for number in items["item_id"].to_pylist()],
        "caption": items["title"].to_pylist(),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1]),
    }
    pq.write_table(pa.table(columns), path)
    return path


def write_shipped(folder: Path, work: Path) -> Path:
    """content_id and codes, as another system ships them."""
    items = pq.read_table(folder / "items.parquet")
    ids = [f"product-{number}" for number in items["item_id"].to_pylist()]
    path = work / "shipped.parquet"
    pq.write_table(pa.table({"content_id": ids, "codes": items["shipped_codes"]}), path)
    return path


def events(windows: list[dict[str, Any]]) -> Iterator[tuple[str, int, int]]:
    """(user, item, seconds) of each event once, from windows that grow along one history per user."""
    seen = set()
    for row, window in enumerate(windows):
        user, at = window["user_id"], row * _ROW_SECONDS
        if user not in seen:
            seen.add(user)
            yield from ((user, item, at + place) for place, item in enumerate(window["history"]))
        yield user, window["target"], at + _ROW_SECONDS // 2


def write_histories(folder: Path, work: Path) -> tuple[Path, str]:
    """-> the file of interactions, and the cuts between training, validation and test."""
    windows = pq.read_table(folder / "sequences.parquet").to_pylist()
    train = sum(window["split"] == "train" for window in windows)
    if any(window["split"] == "train" for window in windows[train:]):
        raise SystemExit("sequences.parquet must have its training windows first")
    users, items, seconds = zip(*events(windows), strict=True)
    path = work / "interactions.parquet"
    times = pa.array([1_000_000 * second for second in seconds], pa.timestamp("us", "UTC"))
    ids = [f"product-{number}" for number in items]
    pq.write_table(pa.table({"user_id": list(users), "content_id": ids, "timestamp": times}), path)
    cuts = [np.datetime64(row * _ROW_SECONDS, "s").astype("datetime64[us]") for row in (int(0.9 * train), train)]
    return path, ",".join(f"{cut}Z" for cut in cuts)


def run(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    db, shipped = work / "db", None
    if arguments.data == "movielens":
        data = unpacked(work, RATINGS, DATA)
        vectors, interactions = write_vectors(work, texts(data)), write_interactions(work, data, arguments.cold)
        split = ["--split", "leave-one-out"]
    else:
        folder = Path(arguments.data)
        vectors, shipped = write_products(folder, work), write_shipped(folder, work)
        interactions, cuts = write_histories(folder, work)
        split = ["--split", "by-time", "--cuts", cuts]
    fuseid("ingest", "--db", db, "--vectors", vectors)
    sizes = tuple(map(int, arguments.codebooks.split(",")))
    names = {}
    for name, section in variants(RQKMeansConfig(codebook_sizes=sizes), arguments.kinds).items():
        config = work / "fit.yaml"
        config.write_text(yaml.safe_dump({"tokenizer": section.model_dump(mode="json")}))
        names[fitted(db, arguments.codebooks, "--cold", "--config", config)] = name
    if shipped is not None:
        notes = fuseid("adopt", "--db", db, "--ids", shipped, "--sizes", "256,256,256").output["notes"]
        [adopted] = {word for note in notes for word in note.split() if word.startswith("adopted-")}
        names[adopted] = "shipped"
    first, *others = names
    sequences = work / "sequences"
    chosen = ["--tokenizer", first, "--format", "parquet", "--runner", "local", *split]
    fuseid("export", "sequences", "--db", db, "--interactions", interactions, "--out", sequences, *chosen)
    against = [part for name in ("random", *others) for part in ("--against", name)]
    more = ["--users", arguments.users] if arguments.users else []
    seeds = ["--seeds", str(arguments.seeds), "--setting", arguments.setting]
    found = fuseid("evaluate", "--db", db, "--sequences", sequences, *seeds, *against, *more).output
    return json.loads(_renamed(json.dumps(found), names))


def _renamed(document: str, names: dict[str, str]) -> str:
    """The document with the kinds in place of ids."""
    for identity, name in names.items():
        document = document.replace(identity, name)
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="movielens, or a folder of products")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder for what is made")
    parser.add_argument("--kinds", default=KINDS, help="KIND[:KEY=VALUE...], separated by commas")
    parser.add_argument("--codebooks", default="256,256,256")
    parser.add_argument("--cold", type=float, default=0.0, help="movielens: share of movies that are made new")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--setting", default="tiny")
    parser.add_argument("--users", help="test users at most")
    parser.add_argument("--json", type=Path, help="also write the document as JSON")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    print_evaluation(document := run(arguments.work, arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
