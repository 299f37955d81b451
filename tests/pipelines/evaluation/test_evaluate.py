"""A whole evaluation: a database, an export of sequences, models trained on it, and a consistent document."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.apps.evaluate_text import print_evaluation
from fuseid.core.errors import BadInput
from fuseid.pipelines.evaluation.evaluate import evaluate
from fuseid.pipelines.evaluation.settings import _NAMED as named_settings
from fuseid.pipelines.evaluation.tables import head_border
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.store.store import Store

from .catalogue import ITEMS, NAMES, NEW, USERS, database


@pytest.fixture(scope="module")
def other(made) -> str:
    """The tokenizer that is not champion."""
    store = Store.open(made / "db")
    found = set(store.dataset("assignments").to_table(columns=["tokenizer_id"])["tokenizer_id"].to_pylist())
    [name] = found - {store.setting("champion")}
    return name


@pytest.fixture(scope="module")
def make(made, other, short):
    """Makes the document, in this process."""
    controls = ("random", "hashed", "sasrec", other)
    return lambda: evaluate(
        str(made / "db"), made / "sequences", against=controls, seeds=2, setting=short, cold_share=(0.5,), workers=1
    )  # fmt: skip


@pytest.fixture(scope="module")
def document(make):
    return make()


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
    for ids in ("semantic", "random", "hashed", "sasrec", other, "most popular"):
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


def test_with_the_trie_no_generated_id_is_invalid(document, other):
    assert [one["ids"] for one in document["ids"]] == ["semantic", "random", "hashed", "sasrec", other]
    assert {one["ids"]: one["invalid_trie"] for one in document["ids"]} == {
        "semantic": 0, "random": 0, "hashed": 0, "sasrec": None, other: 0,
    }  # fmt: skip


def test_cold_items_ranked_among_themselves_are_all_found(document):
    """Five of them, and lists of ten."""
    assert value(document, "cold among cold", "semantic", "recall@10") == 1


def test_places_for_cold_items_are_compared_with_the_lists_without(document):
    rows = document["cold_places"]
    assert {(row["share"], row["codes"]) for row in rows} == {(0.5, 1), (0.5, 2)}
    assert {row["slice"] for row in rows} == {"all", "warm", "cold"}
    for row in rows:
        if row["slice"] != "warm":
            plain = value(document, row["slice"], row["ids"], row["measure"])
            assert row["value"] == pytest.approx(plain + row["less"]["value"])
    shown = {
        (row["ids"], row["codes"], row["slice"]): row["less"]["value"] for row in rows if row["measure"] == "recall@10"
    }
    assert shown["semantic", 1, "cold"] >= 0 >= shown["semantic", 1, "warm"]
    means = (shown["semantic", 1, "cold"] * NEW + shown["semantic", 1, "warm"] * (USERS - NEW)) / USERS
    assert means == pytest.approx(shown["semantic", 1, "all"])


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


@pytest.mark.slow
def test_a_second_run_gives_the_same_document(document, make):
    def timeless(found):
        found = json.loads(json.dumps(found))
        del found["seconds"]
        for one in found["ids"]:
            del one["seconds"]
        return found

    assert timeless(make()) == timeless(document)


def test_the_table_names_every_slice_and_control(document, other, capsys):
    print_evaluation(document)
    shown = capsys.readouterr().out
    for part in ("all", "head", "tail", "cold", "cold among cold"):
        assert f"\n{part}: " in shown
    for text in (
        "with places for cold items",
        "50%",
        "random",
        "hashed",
        "sasrec",
        "most popular",
        other[-8:],
        "95% interval",
        "recall@10",
        "0.0%",
    ):
        assert text in shown


def test_the_head_is_the_most_popular_fifth_without_ties():
    assert head_border(np.array([9, 7, 5, 5, 5, 3, 2, 1, 1, 1])) == 5
    assert head_border(np.array([4, 4, 4, 4, 4])) == 4
    assert head_border(np.array([3])) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer_id": "rq-kmeans-0000"}, "has no tokenizer 'rq-kmeans-0000'"),
        ({"against": ["nothing"]}, "unknown control 'nothing'; there are random, hashed, sasrec and tokenizers: "),
        ({"against": ["random", "random"]}, "against= names a control twice"),
        ({"seeds": 0}, "seeds= takes 1 or more, got 0"),
        ({"users": 1}, "users= takes 2 or more, got 1"),
        ({"cold_share": [0.0]}, "cold_share= takes a share of the places, above 0 and at most 1, got 0"),
        ({"cold_share": [0.1, 0.1]}, "cold_share= names a share twice"),
    ],
)
def test_invalid_options_are_refused(made, options, message):
    with pytest.raises(BadInput, match=message):
        evaluate(str(made / "db"), made / "sequences", **options)


def test_sequences_of_another_database_or_format_are_refused(made, tmp_path):
    export_ids(str(made / "db"), tmp_path / "ids")
    with pytest.raises(BadInput, match="holds no sequences as Parquet"):
        evaluate(str(made / "db"), tmp_path / "ids")
    with pytest.raises(BadInput, match="cannot read the manifest"):
        evaluate(str(made / "db"), tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(BadInput, match="another database"):
        evaluate(database(tmp_path / "x", 1), made / "sequences")


def test_a_share_for_cold_items_is_refused_where_every_item_occurs_in_training(made, tmp_path):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = [
        (user, name, start + timedelta(hours=hour)) for user in "ab" for hour, name in enumerate([*NAMES, *NAMES[:2]])
    ]
    columns = dict(zip(("user_id", "content_id", "timestamp"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    export_sequences(str(made / "db"), tmp_path / "events.parquet", tmp_path / "all")
    with pytest.raises(BadInput, match="so that none is cold; leave out cold_share="):
        evaluate(str(made / "db"), tmp_path / "all", cold_share=[0.1])


# The command

EVALUATE = ("evaluate", "--db", "db", "--sequences", "sequences")


@pytest.fixture
def directory(made: Path) -> Path:
    return made


def test_the_command_prints_as_text_what_it_gives_as_json(as_json, as_text, short, monkeypatch):
    monkeypatch.setitem(named_settings, "tiny", short)
    # One processor: the models are trained in this process, which knows that setting.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    options = ("--against", "hashed", "--seeds", "1", "--users", "10", "--cold-share", "0.2")
    found = as_json(*EVALUATE, *options)
    assert (found["seeds"], found["examples"]["users"]) == (1, 10)
    assert {row["against"] for row in found["differences"]} == {"hashed"}
    out = as_text(*EVALUATE, *options)
    shown = [row for row in found["cold_places"] if row["slice"] != "all" and row["measure"] == "recall@10"]
    for row in [*found["measures"], *shown]:
        if row["low"] is not None:
            assert f"{100 * row['value']:.2f} ({100 * row['low']:.2f} to {100 * row['high']:.2f})" in out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--setting", "huge"], "unknown setting 'huge'; there are tiny, small"),
        (["--against", "nothing"], "unknown control 'nothing'"),
        (["--tokenizer", "rq-kmeans-0000"], "has no tokenizer 'rq-kmeans-0000'"),
        (["--cold-share", "10"], "--cold-share takes a share of the places, above 0 and at most 1, got 10"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(refused, more, message):
    assert message in refused(*EVALUATE, *more)


def test_a_changed_folder_is_refused_in_one_line(refused, made, tmp_path):
    folder = shutil.copytree(made / "sequences", tmp_path / "changed")
    with (folder / "part-00000.parquet").open("ab") as file:
        file.write(b"more")
    assert "is not what its manifest says" in refused("evaluate", "--db", "db", "--sequences", folder)
