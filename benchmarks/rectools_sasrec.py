"""RecTools' SASRec on exported sequences: `python benchmarks/rectools_sasrec.py --sequences FOLDER`.

Runs in an environment of its own, made by `pip install "rectools[torch]" "pyarrow<20"`: RecTools needs numpy 1.
FOLDER is what `fuseid export sequences --format parquet` wrote. Trained on the events of the training examples, one
session for each user; the test examples of the users that `fuseid evaluate` tests, among all items of the training.
"""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning
import torch
from rectools.dataset import Dataset
from rectools.models import SASRecModel

_K = 10


def sessions(examples: pd.DataFrame) -> dict[str, list[str]]:
    """The items of each user, once: an example's history and target hold those of the user's examples before."""
    found: dict[str, list[str]] = {}
    for user, items, target in zip(examples.user_id, examples["items"], examples.target, strict=True):
        whole = found.setdefault(user, list(items))
        whole.append(target)
    return found


def dataset(of: dict[str, list[str]]) -> Dataset:
    rows = [(user, item, place) for user, items in of.items() for place, item in enumerate(items)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "place"])
    table["datetime"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table.pop("place"), unit="h")
    return Dataset.construct(table.assign(weight=1.0))


def tested(examples: pd.DataFrame, users: int) -> pd.DataFrame:
    """All examples of the users with the lowest hashes."""
    names = sorted(examples.user_id.unique(), key=lambda name: (hashlib.blake2b(name.encode()).digest(), name))
    return examples[examples.user_id.isin(set(names[:users]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, required=True)
    parser.add_argument("--history", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    parts = [pd.read_parquet(path) for path in sorted(arguments.sequences.glob("part-*.parquet"))]
    examples = pd.concat(parts, ignore_index=True)
    known = sessions(examples[examples.split == "train"])
    items = {item for session in known.values() for item in session}
    test = tested(examples[examples.split == "test"], arguments.users).reset_index(drop=True)
    asked = {}
    for number, history in enumerate(test["items"]):
        if newest := [item for item in history[-arguments.history :] if item in items]:
            asked[str(number)] = newest
    for seed in range(arguments.seeds):
        pytorch_lightning.seed_everything(seed)
        model = SASRecModel(
            n_factors=128, n_blocks=2, n_heads=2, dropout_rate=0.3, session_max_len=2 * arguments.history,
            loss="softmax", epochs=arguments.epochs, lr=1e-3, batch_size=128, deterministic=True,
        )  # fmt: skip
        model.fit(dataset(known))
        lists = model.recommend(list(asked), dataset(asked), _K, filter_viewed=False, on_unsupported_targets="ignore")
        ranks = dict(zip(zip(lists.user_id, lists.item_id, strict=True), lists["rank"], strict=True))
        found = np.array([ranks.get((str(row), target), np.inf) for row, target in enumerate(test.target)])
        gain = np.where(np.isfinite(found), 1 / np.log2(1 + found), 0.0)
        print(
            f"seed {seed}: recall@{_K} {100 * np.isfinite(found).mean():.2f}, ndcg@{_K} {100 * gain.mean():.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
