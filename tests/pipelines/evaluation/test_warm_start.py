"""Warm starts: a model that goes on with the same IDs is as good at once, the document is consistent, and what cannot
be compared is refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.evaluation.carrying import Start, Training, run_training
from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.evaluation.settings import _NAMED as named_settings
from fuseid.pipelines.evaluation.trial import Data
from fuseid.pipelines.evaluation.warm_start import CARRIED, SCRATCH, _kept, _reached, rows_of, warm_start
from fuseid.pipelines.fit import fit
from fuseid.pipelines.store.store import Store

from .catalogue import ITEMS, settings


def nothing(steps: int) -> None:
    pass


@pytest.fixture(scope="module")
def learned(data: Data, ids: Ids):
    return run_training(data, Training(ids, 0, data.setting.steps, keep=True), nothing)


def test_a_model_that_goes_on_with_the_same_ids_is_the_same_model(data, ids, learned):
    carried = run_training(data, Training(ids, 0, 0, Start(ids, learned.weights)), nothing)
    assert np.array_equal(carried.recall_E, learned.recall_E)
    assert np.allclose(carried.loss_E, learned.loss_E)
    assert carried.weights == {}


def test_ids_that_are_permuted_cost_the_model_what_it_knows_and_more_steps_bring_it_back(data, ids, learned):
    turned = Ids("turned", ids.codes_NM.copy(), ids.codebook_sizes)
    turned.codes_NM[:, 0] = (turned.codes_NM[:, 0] + 1) % 4
    start = Start(ids, learned.weights)
    at_once, later = (run_training(data, Training(turned, 0, steps, start), nothing) for steps in (0, 150))
    assert at_once.loss_E.mean() > learned.loss_E.mean() + 1
    assert later.loss_E.mean() < at_once.loss_E.mean() - 1


def test_a_larger_vocabulary_keeps_the_rows_of_equal_codes(data, ids, learned):
    """One more code in each level, which no item has: the model ranks as before."""
    wider = Ids("wider", ids.codes_NM, tuple(size + 1 for size in ids.codebook_sizes))
    carried = run_training(data, Training(wider, 0, 0, Start(ids, learned.weights)), nothing)
    assert np.array_equal(carried.recall_E, learned.recall_E)


def test_the_same_seed_gives_the_same_result_and_leaves_the_generator(data, ids):
    before = torch.random.get_rng_state()
    one, two = (run_training(data, Training(ids, 3, 20), nothing) for _ in range(2))
    assert np.array_equal(one.loss_E, two.loss_E)
    assert torch.equal(torch.random.get_rng_state(), before)


# What is derived from the trainings


def test_reached_is_the_first_number_of_steps_that_is_as_good():
    users = np.arange(200)
    old = np.stack([np.full((2, 200), 0.5), np.full((2, 200), 4.0)])
    worse, loss_only, both = (
        np.stack([np.full((2, 200), recall), np.full((2, 200), loss)])
        for recall, loss in ((0.3, 5.0), (0.4, 4.05), (0.476, 4.0))
    )
    found = _reached(old, np.stack([worse, loss_only, both]), (0, 10, 30), users)
    assert found["recall@10"] == {"steps": 30, "low": 30, "high": 30}
    assert found["loss"] == {"steps": 10, "low": 10, "high": 10}
    assert _reached(old, np.stack([worse]), (0,), users)["loss"] == {"steps": None, "low": None, "high": None}


def test_the_interval_of_reached_comes_from_the_users():
    users = np.arange(200)
    generator = np.random.default_rng(0)
    old = np.stack([generator.random((1, 200)), np.full((1, 200), 4.0)])
    near = np.stack([0.95 * generator.random((1, 200)), np.full((1, 200), 4.0)])
    found = _reached(old, np.stack([near, old]), (5, 7), users)["recall@10"]
    assert (found["low"], found["high"]) == (5, 7)


def test_kept_counts_prefixes():
    old = Ids("old", np.array([[0, 0, 0], [1, 1, 0], [2, 2, 0], [3, 3, 0]]), (4, 4))
    new = Ids("new", np.array([[0, 0, 5, 0], [1, 0, 5, 0], [0, 2, 5, 0], [3, 3, 5, 0]]), (4, 4, 6))
    assert _kept(old, new) == [0.75, 0.5]


def test_numbers_of_steps_are_shares_of_the_old_ones(ids):
    scratch, carried, other = rows_of([ids, replace(ids, name="b")], 3000)
    assert (scratch.start, carried.start, other.ids.name) == (SCRATCH, CARRIED, "b")
    assert scratch.steps == (111, 333, 1000, 3000)
    assert carried.steps == (0, *scratch.steps)
    assert rows_of([ids], 5)[0].steps == (1, 5)


# From a database


@pytest.fixture(scope="module")
def other(made: Path) -> str:
    """The tokenizer that is not champion."""
    store = Store.open(made / "db")
    [name] = set(store.tokenizers()) - {store.setting("champion")}
    return name


@pytest.fixture(scope="module")
def document(made, other, short):
    return warm_start(str(made / "db"), made / "sequences", [other[:-4]], seeds=2, setting=short, workers=1)


def test_the_document_has_a_curve_from_scratch_and_one_from_the_old_model(document, made, other):
    assert document["tokenizer_id"] == Store.open(made / "db").setting("champion")
    assert (document["old"]["steps"], document["seeds"], document["items"]) == (30, 2, ITEMS)
    rows = [(row["tokenizer_id"], row["start"]) for row in document["new"]]
    assert rows == [(other, "scratch"), (other, "old model")]
    for row, least in zip(document["new"], (1, 0), strict=True):
        steps = [point["steps"] for point in row["curve"]]
        assert steps == [number for number in (0, 1, 3, 10, 30) if number >= least]
        assert len(row["kept"]) == 2
        for measure in ("recall@10", "loss"):
            for point in row["curve"]:
                assert point[measure]["low"] <= point[measure]["value"] <= point[measure]["high"]
            good = [
                point["steps"]
                for point in row["curve"]
                if (
                    point[measure]["value"] >= 0.95 * document["old"][measure]["value"]
                    if measure == "recall@10"
                    else point[measure]["value"] <= document["old"][measure]["value"] - np.log(0.95)
                )
            ]
            assert row["reached"][measure]["steps"] == next(iter(good), None)
    json.dumps(document)


@pytest.mark.parametrize(
    ("new", "options", "message"),
    [
        (["rq-kmeans-0000"], {}, "has no tokenizer 'rq-kmeans-0000'"),
        (["OTHER", "OTHER"], {}, "warm_start= takes one or more tokenizers, each once"),
        ([], {}, "warm_start= takes one or more tokenizers, each once"),
        (["CHAMPION"], {}, "warm_start= names .*, the tokenizer of the sequences; name another one"),
        (["CHAMPION"], {"tokenizer_id": "OTHER"}, "holds sequences of .*, not of "),
        (["OTHER"], {"seeds": 0}, "seeds= takes 1 or more, got 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(made, other, new, options, message):
    names = {"OTHER": other, "CHAMPION": Store.open(made / "db").setting("champion")}
    options = {name: names.get(value, value) for name, value in options.items()}
    with pytest.raises(BadInput, match=message):
        warm_start(str(made / "db"), made / "sequences", [names.get(name, name) for name in new], **options)


def test_an_item_without_an_id_of_the_new_tokenizer_is_refused(made, short, tmp_path):
    uri = str(shutil.copytree(made / "db", tmp_path / "db"))
    before = set(Store.open(uri).tokenizers())
    fit(uri, settings(5, 2))
    [late] = set(Store.open(uri).tokenizers()) - before
    with pytest.raises(NotReady, match=f"{ITEMS} items of the sequences have no ID of {late}"):
        warm_start(uri, made / "sequences", [late], setting=short)


# The command

EVALUATE = ("evaluate", "--db", "db", "--sequences", "sequences")


@pytest.fixture
def directory(made: Path) -> Path:
    return made


def test_the_command_prints_as_text_what_it_gives_as_json(as_json, as_text, other, short, monkeypatch):
    monkeypatch.setitem(named_settings, "tiny", short)
    # One processor: the models are trained in this process, which knows that setting.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    words = (*EVALUATE, "--warm-start", other, "--seeds", "1", "--users", "10")
    found, out = as_json(*words), as_text(*words)
    for row in found["new"]:
        for point in row["curve"]:
            one = point["recall@10"]
            assert f"{100 * one['value']:.2f} ({100 * one['low']:.2f} to {100 * one['high']:.2f})" in out
    assert "steps until 95% of the old figure is reached" in out


def test_a_wrong_use_of_the_command_is_refused_in_one_line(refused, other):
    said = refused(*EVALUATE, "--warm-start", other, "--against", "random")
    assert "--warm-start has its own comparisons; leave out --against" in said
    assert "has no tokenizer 'rq-kmeans-0000'" in refused(*EVALUATE, "--warm-start", "rq-kmeans-0000")
