"""Exports of IDs and of sequences, read by the loaders of the libraries that they are for.

These libraries have requirements that fuseid has not, so each is installed in an environment of its own.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.sequences.options import Options

pytestmark = pytest.mark.slow
UV = Path(sys.executable).parent / "uv"
CORNAC = """
import json, sys
import numpy as np
from cornac.data import FeatureModality, Reader
from cornac.eval_methods import NextItemEvaluation
from cornac.models.letter.beauty_example import align_semantic_ids, load_semantic_ids

ids, sequences = sys.argv[1:]
codes = load_semantic_ids(f"{ids}/semantic_ids.json")
data = {name: Reader().read(f"{sequences}/{split}.tsv", fmt="USIT")
        for name, split in (("train_data", "train"), ("val_data", "valid"), ("test_data", "test"))}
method = NextItemEvaluation.from_splits(
    **data, fmt="USIT", mode="last", exclude_unknowns=False,
    item_feature=FeatureModality(features=np.zeros((len(codes), 1), "float32"), ids=list(codes)),
)
table = align_semantic_ids(method, codes)
names = {number: name for name, number in method.global_iid_map.items()}
sessions = {}
for part in (method.train_set, method.val_set, method.test_set):
    labels = {number: name for name, number in part.sid_map.items()}
    for number, events in part.sessions.items():
        sessions[labels[number]] = [names[item] for item in part.uir_tuple[1][events]]
print(json.dumps({"codes": {name: table[number].tolist() for number, name in names.items()}, "sessions": sessions}))
"""
RECTOOLS = """
import json, sys
import pandas as pd
from rectools.dataset import Dataset

ids, sequences = sys.argv[1:]
features = pd.read_parquet(f"{ids}/item_features.parquet")
events = pd.read_parquet(f"{sequences}/interactions.parquet")
dataset = Dataset.construct(
    events, item_features_df=features, cat_item_features=features["feature"].unique()
)
names = dataset.item_features.names
rows = dataset.item_features.get_sparse().tolil().rows
codes = {dataset.item_id_map.to_external[item]: sorted([str(names[one][0]), int(names[one][1])] for one in row)
         for item, row in enumerate(rows)}
raw = dataset.get_raw_interactions()
print(json.dumps({
    "codes": codes,
    "events": [[r.user_id, r.item_id, r.weight, r.datetime.isoformat()] for r in raw.itertuples()],
    "split": events["split"].tolist(),
}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Installs packages in a new environment; -> its Python."""

    def install(*packages: str) -> Path:
        folder = tmp_path_factory.mktemp("peer") / "env"
        python = folder / "bin" / "python"
        subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], check=True)
        done = subprocess.run(
            [UV, "pip", "install", "-q", "--python", python, *packages], check=False, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"the registry does not have {', '.join(packages)}: {done.stderr.strip().splitlines()[-1]}")
        return python

    return install


@pytest.fixture
def events(tmp_path: Path) -> Path:
    generator = np.random.default_rng(3)
    path = tmp_path / "events.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "content_id", "timestamp", "weight"])
        for second in range(300):
            writer.writerow(
                [f"u\t{generator.integers(9)}", f"v{generator.integers(50):03d}", 1714564800 + second, second % 3]
            )
    return path


def read_by(python: Path, script: str, *folders: Path) -> Any:
    done = subprocess.run([python, "-W", "ignore", "-c", script, *folders], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cornac_reads_ids_and_sessions(fitted, events, environment, tmp_path):
    python = environment("cornac==3.0.1")
    export_ids(fitted.uri(), tmp_path / "ids", "cornac")
    export_sequences(fitted.uri(), events, tmp_path / "sessions", "cornac", shards=2)
    export_sequences(fitted.uri(), events, tmp_path / "ours", options=Options(train="last"), shards=2)
    read = read_by(python, CORNAC, tmp_path / "ids", tmp_path / "sessions")
    numbers = pq.read_table(tmp_path / "ids" / "items.parquet").to_pylist()
    names = {str(row["number"]): row["content_id"] for row in numbers}
    ledger = fitted.store().dataset("assignments").to_table().to_pylist()
    ids = {row["content_id"]: [*row["codes"], row["suffix"] or 0] for row in ledger}
    assert {names[number]: codes for number, codes in read["codes"].items()} == {
        names[number]: ids[names[number]] for number in read["codes"]
    }
    assert len(read["codes"]) > 40
    users = {row["session"]: row["user_id"] for row in pq.read_table(tmp_path / "sessions" / "sessions").to_pylist()}
    rows = [row for part in (0, 1) for row in pq.read_table(tmp_path / "ours" / f"part-{part:05d}.parquet").to_pylist()]
    found = [
        (name.split("-")[0], users[name], [names[number] for number in items])
        for name, items in read["sessions"].items()
    ]
    assert sorted(found) == sorted((row["split"], row["user_id"], [*row["items"], row["target"]]) for row in rows)


def test_rectools_reads_features_and_interactions(fitted, events, environment, tmp_path):
    python = environment("rectools==0.19.0", "pyarrow==21.0.0")
    export_ids(fitted.uri(), tmp_path / "ids", "rectools")
    export_sequences(fitted.uri(), events, tmp_path / "events", "rectools", shards=2)
    read = read_by(python, RECTOOLS, tmp_path / "ids", tmp_path / "events")
    ledger = fitted.store().dataset("assignments").to_table().to_pylist()
    assert read["codes"] == {
        row["content_id"]: [[f"code_{level}", code] for level, code in enumerate(row["codes"], start=1)]
        for row in ledger
    }
    with events.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(read["events"]) == sorted(
        [row["user_id"], row["content_id"], float(row["weight"]), f"{_moment(row['timestamp'])}"] for row in rows
    )
    assert len(read["split"]) == len(rows)
    assert set(read["split"]) == {"train", "valid", "test"}


def _moment(seconds: str) -> str:
    return str(np.datetime64(int(seconds), "s"))
