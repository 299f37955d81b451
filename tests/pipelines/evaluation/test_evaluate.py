"""The whole way: a database, an export of sequences, models trained on it, and a document that adds up."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.apps import cli
from fuseid.apps.evaluate_text import print_evaluation
from fuseid.core.config import Config
from fuseid.core.errors import BadInput
from fuseid.pipelines.evaluation.evaluate import evaluate
from fuseid.pipelines.evaluation.settings import _NAMED as named_settings
from fuseid.pipelines.evaluation.tables import head_border
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.runners import LocalRunner
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.sources import Vectors
from fuseid.pipelines.store import Store

ITEMS, NEW, USERS = 40, 5, 30
NAMES = [f"v{n:02d}" for n in range(ITEMS)]


def settings(*codebooks: int) -> Config:
    tokenizer = {"codebook_sizes": codebooks, "iterations": 5}
    return Config.model_validate({"clip": None, "tokenizer": tokenizer, "fusion": {"dim": 8}})


def database(folder: Path, seed: int) -> str:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(5, 8))
    vectors = centres[np.arange(ITEMS) % 5] + 0.2 * generator.normal(size=(ITEMS, 8))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    (folder / "vectors.ids.txt").write_text("".join(f"{name}\n" for name in NAMES))
    uri = str(folder / "db")
    ingest(uri, Vectors(folder / "vectors.npy"), settings(4, 3), LocalRunner())
    fit(uri, settings(4, 3))
    return uri


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A database of two tokenizers, and sequences of walks on a ring of items; five users end at items of their own."""
    folder = tmp_path_factory.mktemp("evaluate")
    uri = database(folder, 0)
    fit(uri, settings(3, 4))
    ring = ITEMS - NEW
    # Squares, so that some places are passed more often than others, and all by somebody.
    walks = [[(user * user + step) % ring for step in range(8)] for user in range(USERS)]
    for user in range(NEW):
        walks[user][-1] = ring + user
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (f"u{user}", NAMES[item], start + timedelta(days=user, hours=step))
        for user, walk in enumerate(walks)
        for step, item in enumerate(walk)
    ]
    columns = dict(zip(("user_id", "content_id", "timestamp"), zip(*rows, strict=True), strict=True))
    pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), folder / "events.parquet")
    export_sequences(uri, folder / "events.parquet", folder / "sequences")
    return folder


@pytest.fixture(scope="module")
def other(made) -> str:
    """The tokenizer that is not champion."""
    store = Store.open(made / "db")
    found = set(store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].to_pylist())
    [name] = found - {store.setting("champion")}
    return name


@pytest.fixture(scope="module")
def short(quick):
    return replace(quick, steps=30, check_every=10)


@pytest.fixture(scope="module")
def document(made, other, short, one_thread):
    return evaluate(
        str(made / "db"), made / "sequences", against=("random", "hashed", other), seeds=2, setting=short, workers=1
    )  # fmt: skip


def value(document, part, ids, measure):
    [row] = [r for r in document["measures"] if (r["slice"], r["ids"], r["measure"]) == (part, ids, measure)]
    return row["value"]


def test_slices_are_a_partition_and_their_means_add_up(document, other):
    slices = {part["slice"]: part for part in document["slices"]}
    assert list(slices) == ["all", "head", "tail", "cold", "cold among cold"]
    assert [slices[name]["examples"] for name in ("all", "cold")] == [USERS, NEW]
    assert slices["cold among cold"]["ranked"] == slices["cold"]["items"] == NEW
    assert sum(slices[name]["items"] for name in ("head", "tail", "cold")) == slices["all"]["items"] == ITEMS
    measures = {row["measure"] for row in document["measures"]}
    assert measures == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}
    for ids in ("semantic", "random", "hashed", other, "most popular"):
        for measure in measures:
            parts = [(slices[p]["examples"], value(document, p, ids, measure)) for p in ("head", "tail", "cold")]
            assert sum(count * mean for count, mean in parts) / USERS == pytest.approx(
                value(document, "all", ids, measure)
            )


def test_differences_are_those_of_the_means(document):
    for row in document["differences"]:
        names = row["slice"], row["measure"]
        own, control = (value(document, names[0], ids, names[1]) for ids in ("semantic", row["against"]))
        assert row["value"] == pytest.approx(own - control)
        assert row["low"] <= row["value"] <= row["high"]


def test_with_the_trie_nothing_is_invalid_whatever_the_ids(document, other):
    assert [one["ids"] for one in document["ids"]] == ["semantic", "random", "hashed", other]
    assert {one["invalid_trie"] for one in document["ids"]} == {0}


def test_new_items_are_all_found_among_themselves(document):
    """Five of them, and lists of ten."""
    assert value(document, "cold among cold", "semantic", "recall@10") == 1


def test_popularity_is_counted_in_the_training_split(document, made):
    rows = pq.read_table(made / "sequences" / "part-00000.parquet").to_pylist()
    counts = Counter(row["target"] for row in rows if row["split"] == "train")
    hits = []
    for row in rows:
        if row["split"] == "test":
            above = sum(counts[name] > counts[row["target"]] for name in NAMES)
            ties = sum(counts[name] == counts[row["target"]] for name in NAMES)
            hits.append(np.mean([rank < 10 for rank in range(above, above + ties)]))
    assert value(document, "all", "most popular", "recall@10") == pytest.approx(np.mean(hits))


def test_a_second_run_gives_the_same_document(document, made, other, short):
    again = evaluate(
        str(made / "db"), made / "sequences", against=("random", "hashed", other), seeds=2, setting=short, workers=1
    )  # fmt: skip

    def timeless(found):
        found = json.loads(json.dumps(found))
        del found["seconds"]
        for one in found["ids"]:
            del one["seconds"]
        return found

    assert timeless(again) == timeless(document)


def test_the_table_names_every_slice_and_control(document, other, capsys):
    print_evaluation(document)
    shown = capsys.readouterr().out
    for part in ("all", "head", "tail", "cold", "cold among cold"):
        assert f"\n{part}: " in shown
    for text in ("random", "hashed", "most popular", other[-8:], "95% interval", "recall@10", "0.0%"):
        assert text in shown


def test_the_head_is_the_most_popular_fifth_without_ties():
    assert head_border(np.array([9, 7, 5, 5, 5, 3, 2, 1, 1, 1])) == 5
    assert head_border(np.array([4, 4, 4, 4, 4])) == 4
    assert head_border(np.array([3])) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer_id": "rq-kmeans-0000"}, "not of rq-kmeans-0000; export them with --tokenizer"),
        ({"against": ["nothing"]}, "unknown control 'nothing'; there are random, hashed and the ids of tokenizers"),
        ({"against": ["random", "random"]}, "--against names a control twice"),
        ({"seeds": 0}, "--seeds takes 1 or more, got 0"),
        ({"users": 1}, "--users takes 2 or more, got 1"),
    ],
)
def test_what_cannot_be_asked_is_refused(made, options, message):
    with pytest.raises(BadInput, match=message):
        evaluate(str(made / "db"), made / "sequences", **options)


def test_folders_that_are_no_sequences_of_this_database_are_refused(made, tmp_path):
    export_ids(str(made / "db"), tmp_path / "ids")
    with pytest.raises(BadInput, match="holds no sequences as Parquet"):
        evaluate(str(made / "db"), tmp_path / "ids")
    with pytest.raises(BadInput, match="cannot read the manifest"):
        evaluate(str(made / "db"), tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(BadInput, match="another database"):
        evaluate(database(tmp_path / "x", 1), made / "sequences")


# The command


@pytest.fixture
def fuseid(monkeypatch, capsys, made, short):
    """Runs `fuseid evaluate` on what is made, in this process, by the short setting; -> (status, output, errors)."""
    monkeypatch.setitem(named_settings, "tiny", short)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    def run(*more: str, sequences: Path = made / "sequences") -> tuple[object, str, str]:
        command = ["fuseid", "evaluate", "--db", str(made / "db"), "--sequences", str(sequences), *more]
        monkeypatch.setattr(sys, "argv", command)
        status: object = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code
        written = capsys.readouterr()
        return status, written.out, written.err

    return run


def test_the_command_tells_machines_what_it_tells_people(fuseid):
    status, out, _ = fuseid("--against", "hashed", "--seeds", "1", "--users", "10", "--json")
    assert status == 0
    found = json.loads(out)
    assert (found["seeds"], found["examples"]["users"]) == (1, 10)
    assert {row["against"] for row in found["differences"]} == {"hashed"}
    status, out, _ = fuseid("--against", "hashed", "--seeds", "1", "--users", "10")
    assert status == 0
    for row in found["measures"]:
        if row["low"] is not None:
            assert f"{100 * row['value']:.2f} ({100 * row['low']:.2f} to {100 * row['high']:.2f})" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--setting", "huge"], "unknown setting 'huge'; there are tiny and small"),
        (["--against", "nothing"], "unknown control 'nothing'"),
        (["--tokenizer", "rq-kmeans-0000"], "export them with --tokenizer"),
    ],
)
def test_a_wrong_command_ends_with_one_line(fuseid, more, message):
    status, out, err = fuseid(*more)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_a_folder_that_was_changed_ends_with_one_line(fuseid, made, tmp_path):
    folder = shutil.copytree(made / "sequences", tmp_path / "changed")
    with (folder / "part-00000.parquet").open("ab") as file:
        file.write(b"more")
    status, out, err = fuseid(sequences=folder)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "is not what its manifest says" in err
