"""Items on a ring, users who move along it one step at a time, and a setting that learns this in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.histories import Sequences, TestHistories
from fuseid.pipelines.evaluation.settings import Setting
from fuseid.pipelines.evaluation.trial import Data
from fuseid.pipelines.fit import fit
from fuseid.pipelines.sequences.export import export_sequences

from .catalogue import database, events, settings

ITEMS, COLD = 40, 4
SIZES = (4, 5)
QUICK = Setting(
    "quick", d_model=32, d_kv=8, d_ff=64, heads=4, layers=1, dropout=0.0, history=3, batch=64, steps=150,
    learning_rate=5e-2, warmup=10, check_every=50, patience=3, valid_examples=40, beams=10, users=1_000,
)  # fmt: skip


def walks(starts: np.ndarray) -> TestHistories:
    """Histories of three steps on the ring, with the fourth as the target."""
    steps = (starts[:, None] + np.arange(4)) % (ITEMS - COLD)
    return TestHistories(
        steps[:, :3].astype(np.int32), steps[:, 3], np.array([f"u{n}" for n in range(len(starts))], object)
    )


@pytest.fixture(scope="session")
def quick() -> Setting:
    return QUICK


@pytest.fixture(scope="session")
def ids() -> Ids:
    """Two items for each of twenty pairs of codes, distinguished by the suffix."""
    rows = np.arange(ITEMS)
    return Ids("semantic", np.column_stack([rows % 4, rows // 4 % 5, rows // 20]).astype(np.int32), SIZES)


@pytest.fixture(scope="session")
def data() -> Data:
    """The ring without its last four items: they are not in the training split, but targets of four test examples."""
    ring = ITEMS - COLD
    test = walks(np.arange(ring))
    cold = TestHistories(test.history_EH[:COLD], ring + np.arange(COLD), np.array(["x", "x", "y", "z"], object))
    test = TestHistories(
        *(np.concatenate([getattr(test, name), getattr(cold, name)]) for name in TestHistories.__annotations__)
    )
    seen_N = np.arange(ITEMS) < ring
    sequences = Sequences(
        train=walks(np.tile(np.arange(ring), 4)), valid=walks(np.arange(ring)), test=test,
        targets_N=4 * seen_N, seen_N=seen_N, counts={"train": 4 * ring, "valid": ring, "test": ring + COLD},
    )  # fmt: skip
    return Data(sequences, QUICK)


@pytest.fixture(scope="session")
def short(quick: Setting) -> Setting:
    """Too short to learn anything."""
    return replace(quick, steps=30, check_every=10)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database `db` of two tokenizers, and `sequences` of the first."""
    folder = tmp_path_factory.mktemp("evaluate")
    uri = database(folder, 0)
    fit(uri, settings(3, 4))
    export_sequences(uri, events(folder), folder / "sequences")
    return folder
