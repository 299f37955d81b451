"""How soon a recommender is as good with the IDs of a refit: `python benchmarks/refit_ranker.py --work FOLDER`.

The data are those of `movielens.py`, kept in FOLDER. A fifth of the movies, chosen by hash, are new: the old tokenizer
is fitted without them, and the refits with them. Then `fuseid evaluate --warm-start` compares

    cold           `fuseid fit --cold`; from scratch, and from the old model
    permuted       the same codes, renumbered so that most items keep theirs
    warm           `fuseid fit`: started from the old codebooks, and renumbered

with the setting `tiny` and a third of its steps, unless `--steps` says another number: 1,000.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

# This folder's tokenizers.py would hide the library of that name, which transformers imports.
sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.movielens import DATA, RATINGS, fitted, texts, unpacked, write_interactions, write_vectors
from benchmarks.processes import fuseid
from fuseid.apps.warm_start_text import print_warm_start
from fuseid.core.protocols import AlignableTokenizer
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.evaluation.evaluate import read_ids
from fuseid.pipelines.evaluation.settings import TINY
from fuseid.pipelines.evaluation.warm_start import warm_start
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.alignment import permutations

NEW_SHARE = 0.2
STEPS = TINY.steps // 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is fetched and made, kept")
    parser.add_argument("--codebooks", default="32,32,32")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", type=Path, help="also write the document as JSON")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    names, db, sequences = refitted(arguments.work, arguments.codebooks)
    document: dict[str, Any] = warm_start(
        str(db), sequences, list(names), seeds=arguments.seeds, setting=replace(TINY, steps=arguments.steps)
    )
    for row in document["new"]:
        row["way"] = names[row["tokenizer_id"]]
    print(names)
    print_warm_start(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")


def refitted(work: Path, codebooks: str) -> tuple[dict[str, str], Path, Path]:
    """-> (the new tokenizers and how each was made, the database, the sequences of the old IDs)."""
    folder = work / f"refit-{codebooks}"
    made, db, sequences = folder / "made.json", folder / "db", folder / "sequences"
    if not made.is_file():
        data = unpacked(work, RATINGS, DATA)
        vectors, interactions = write_vectors(work, texts(data)), write_interactions(work, data, 0.0)
        folder.mkdir()
        table = pq.read_table(vectors)
        is_old = pa.array([not _new(name) for name in table["content_id"].to_pylist()])
        pq.write_table(table.filter(is_old), folder / "old.parquet")
        fuseid("ingest", "--db", db, "--vectors", folder / "old.parquet")
        old = fitted(db, codebooks)
        fuseid("ingest", "--db", db, "--vectors", vectors)
        cold, warm = fitted(db, codebooks, "--cold"), fitted(db, codebooks)
        names = {cold: "cold", permuted(str(db), old, cold): "permuted", warm: "warm"}
        chosen = ["--tokenizer", old, "--format", "parquet"]
        fuseid("export", "sequences", "--db", db, "--interactions", interactions, "--out", sequences, *chosen)
        made.write_text(json.dumps(names))
    return json.loads(made.read_text()), db, sequences


def permuted(db: str, old: str, cold: str) -> str:
    """The id of a tokenizer with the codebooks of `cold`, renumbered to keep most codes of `old`; it gives IDs."""
    store = Store.open(db)
    (old_names, old_ids), (new_names, new_ids) = (read_ids(Snapshot.open(db, name), name) for name in (old, cold))
    assert old_names.equals(new_names)
    numbers = permutations(old_ids.codes_NM[:, :-1], new_ids.codes_NM[:, :-1], new_ids.codebook_sizes)
    tokenizer = cast(AlignableTokenizer, load_tokenizer(store, cold))
    name = store.put_artifact(tokenizer.permuted([np.asarray(each) for each in numbers], {"tokenizer": old}))
    fuseid("assign", "--db", db, "--tokenizer", name)
    return name


def _new(item: str) -> bool:
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "big") < NEW_SHARE * 2**64


if __name__ == "__main__":
    main()
