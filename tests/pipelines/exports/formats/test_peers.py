"""Exports of IDs and of sequences, read by the loaders of the libraries that they are for.

These libraries have requirements that fuseid has not, so each is installed in an environment of its own.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
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
PAGE = (Path(__file__).parents[4] / "docs" / "exports.md").read_text(encoding="utf-8")
# What the programs of docs/exports.md have loaded, as JSON.
CORNAC = """
import json

names = {number: name for name, number in split.global_iid_map.items()}
sessions = {}
for part in (split.train_set, split.val_set, split.test_set):
    labels = {number: name for name, number in part.sid_map.items()}
    for number, events in part.sessions.items():
        sessions[labels[number]] = [names[item] for item in part.uir_tuple[1][events]]
codes = {name: model.precomputed_semantic_ids[number].tolist() for number, name in names.items()}
print(json.dumps({"codes": codes, "sessions": sessions}))
"""
RECTOOLS = """
import json

names = dataset.item_features.names
rows = dataset.item_features.get_sparse().tolil().rows
codes = {dataset.item_id_map.to_external[item]: sorted([str(names[one][0]), int(names[one][1])] for one in row)
         for item, row in enumerate(rows)}
raw = dataset.get_raw_interactions()
train = [[row.user_id, row.item_id, row.weight, row.datetime.isoformat()] for row in raw.itertuples()]
print(json.dumps({"codes": codes, "train": train, "splits": events["split"].tolist()}))
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


def read_by(python: Path, form: str, report: str, folder: Path) -> Any:
    """What the program of a format's section in docs/exports.md loads in this folder."""
    program = re.search(rf"^### {form}\n.*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]
    command = [python, "-W", "ignore", "-c", program + report]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cornac_reads_ids_and_sessions(fitted, events, environment, tmp_path):
    python = environment("cornac==3.0.1")
    export_ids(fitted.uri(), tmp_path / "ids", "cornac")
    export_sequences(fitted.uri(), events, tmp_path / "sessions", "cornac", shards=2)
    export_sequences(fitted.uri(), events, tmp_path / "ours", options=Options(train="last"), shards=2)
    read = read_by(python, "cornac", CORNAC, tmp_path)
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
    read = read_by(python, "rectools", RECTOOLS, tmp_path)
    ledger = fitted.store().dataset("assignments").to_table().to_pylist()
    assert read["codes"] == {
        row["content_id"]: [[f"code_{level}", code] for level, code in enumerate(row["codes"], start=1)]
        for row in ledger
    }
    with events.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # All but the last two of each user, in the order of time.
    of_user = {row["user_id"]: [other for other in rows if other["user_id"] == row["user_id"]] for row in rows}
    assert sorted(read["train"]) == sorted(
        [user, row["content_id"], float(row["weight"]), str(np.datetime64(int(row["timestamp"]), "s"))]
        for user, mine in of_user.items()
        for row in mine[:-2]
    )
    assert Counter(read["splits"]) == {"train": len(rows) - 18, "valid": 9, "test": 9}
