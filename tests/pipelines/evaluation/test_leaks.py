"""IDs that have seen what is tested are refused, however the test was split off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.pipelines.engagement.pairs_file import read_pairs, write_pairs
from fuseid.pipelines.evaluation.evaluate import evaluate
from fuseid.pipelines.evaluation.histories import first_tested
from fuseid.pipelines.evaluation.leaks import _clear, check_unseen
from fuseid.pipelines.evaluation.warm_start import warm_start
from fuseid.pipelines.exports.folder import read_manifest
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.jobs.progress import Lines
from fuseid.pipelines.sequences.clock import shown
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.sequences.options import Options, parse_cuts
from fuseid.pipelines.sources.vectors import Vectors

ITEMS, TASTES = 120, 4
START = 1_704_067_200  # 2024-01-01
SPLITS = {
    "leave-one-out": Options(),
    "by-time": Options("by-time", parse_cuts("2024-01-15T00:00Z,2024-01-20T00:00Z", None)),
}
# The first tests are an event of 2024-01-01, and one of 2024-01-20.
ABOUT = {
    "all": {"method": "window", "until": None, "leave_out": 0, "last_event": "2024-01-30T07:00:00+00:00"},
    "left out": {"method": "window", "until": None, "leave_out": 2, "last_event": "2024-01-30T07:00:00+00:00"},
    "early": {"method": "swing", "until": "2024-01-20T00:00:00+00:00", "leave_out": 0, "last_event": None},
    "ready-made": None,
}


def write_events(path: Path) -> Path:
    """Users of a day each, from the first of January on, with an event an hour."""
    rows = [
        f"u{user},v{(7 * user + 5 * step) % ITEMS:03d},{START + 86_400 * user + 3600 * step}\n"
        for user in range(30)
        for step in range(8)
    ]
    path.write_text("user_id,content_id,timestamp\n" + "".join(rows))
    return path


def write_some_pairs(folder: Path, about: dict[str, Any] | None) -> Path:
    """Pairs of items of the same taste. about: the metadata, None for pairs from elsewhere."""
    generator = np.random.default_rng(1)
    one = generator.integers(0, ITEMS, 400)
    other = (one + TASTES * generator.integers(1, ITEMS // TASTES, 400)) % ITEMS
    names = [[f"v{number:03d}" for number in side.tolist()] for side in (one, other)]
    ready = folder / "ready-made.parquet"
    pq.write_table(pa.table({"content_id": names[0], "partner_id": names[1]}), ready)
    if about is None:
        return ready
    pairs = read_pairs(ready)
    pieces = [(pairs.first_P, pairs.second_P, pairs.weight_P)]
    write_pairs(folder / "pairs.parquet", pairs.content_ids, pieces, lambda: about)
    return folder / "pairs.parquet"


@pytest.fixture(scope="module", params=ABOUT)
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """-> (which pairs, a database that learned from them, a folder with sequences of both splits)."""
    folder = tmp_path_factory.mktemp("leaks")
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32)
    vectors[:, 0] = 0.5 * (np.arange(ITEMS) % TASTES)
    np.save(folder / "vectors.npy", vectors)
    (folder / "vectors.ids.txt").write_text("".join(f"v{number:03d}\n" for number in range(ITEMS)))
    fusion = {"kind": "learned", "hidden": 16, "batch_size": 32, "negatives": 16, "epochs": 3, "dim": 6}
    config = Config.model_validate({"clip": None, "fusion": fusion, "tokenizer": {"codebook_sizes": [4, 3]}})
    uri = str(folder / "db")
    ingest(uri, Vectors(folder / "vectors.npy"), config, LocalRunner())
    fit(uri, config, pairs=write_some_pairs(folder, ABOUT[request.param]))
    for name, options in SPLITS.items():
        export_sequences(uri, write_events(folder / "events.csv"), folder / name, options=options)
    return request.param, uri, folder


class Notes(Lines):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("split", SPLITS)
def test_ids_that_have_seen_the_test_are_refused_and_others_are_not(learnt, split, short):
    which, uri, folder = learnt
    manifest, notes = read_manifest(folder / split), Notes()
    refused = {("all", "leave-one-out"), ("all", "by-time"), ("left out", "by-time"), ("early", "leave-one-out")}
    if (which, split) not in refused:
        check_unseen(uri, folder / split, manifest, [manifest["tokenizer_id"]], notes)
        assert [("do not say of which events" in said) for said in notes.said] == [True] * (which == "ready-made")
        return
    with pytest.raises(BadInput) as error:
        evaluate(uri, folder / split, setting=short)
    said = str(error.value)
    assert f"tests events from {shown(first_tested(folder / split))} on" in said
    assert ("until=" in said or "--until" in said) == (split == "by-time")
    assert "\n" not in said
    with pytest.raises(BadInput, match="have seen what is tested"):
        warm_start(uri, folder / split, [manifest["tokenizer_id"]], setting=short)


@pytest.mark.parametrize(
    ("pairs", "of_users", "clear"),
    [
        ({"until": "2024-01-20T00:00:00+00:00"}, False, True),
        ({"until": "2024-01-20T00:00:00.000001+00:00"}, False, False),
        ({"until": "2024-02-20T00:00:00+00:00", "last_event": "2024-01-19T23:59:59+00:00"}, False, True),
        ({"until": None, "last_event": "2024-01-20T00:00:00+00:00"}, False, False),
        ({"until": None, "last_event": "2024-01-20T00:00:00+00:00", "leave_out": 1}, False, False),
        ({"until": None, "last_event": "2024-01-20T00:00:00+00:00", "leave_out": 1}, True, True),
        ({"until": None, "last_event": "2024-01-20T00:00:00+00:00", "leave_out": 0}, True, False),
    ],
)
def test_pairs_are_clear_of_a_test_that_begins_after_their_events_or_that_they_leave_out(pairs, of_users, clear):
    assert _clear(pairs, 1_705_708_800_000_000, of_users) is clear
