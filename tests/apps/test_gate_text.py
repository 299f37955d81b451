"""The command gate: a table or JSON, 5 for a limit that does not hold; and `promote` after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuseid.core.config import load_config
from fuseid.pipelines.fit import fit
from fuseid.pipelines.store.store import Store


@pytest.fixture
def candidate(folder: Path) -> str:
    config = load_config(folder / "fuseid.yaml", {"tokenizer.seed": 3}).model_copy(update={"clip": None})
    return str(fit(str(folder / "db"), config).tokenizer_id)


@pytest.fixture
def limit(folder: Path):
    text = (folder / "fuseid.yaml").read_text()

    def write(*limits: str) -> None:
        lines = "".join(f"    {one}\n" for one in limits)
        (folder / "fuseid.yaml").write_text(f"{text}gate:\n  limits:\n{lines}")

    return write


def test_within_the_limits_it_ends_with_0_and_the_tokenizer_is_promoted(as_text, as_json, candidate, limit):
    limit("churn 1: {at_most: 100%}", "normalised_entropy 1: {at_least: 10%, end: better}")
    out = as_text("gate", "--db", "db", "--tokenizer", candidate[:-8])
    for said in (f"{candidate} against rq-kmeans-", "at most 100%", "at least 10.0%", "better", "passes"):
        assert said in out
    assert candidate in as_text("promote", "--db", "db", candidate)
    found = as_json("gate", "--db", "db", "--tokenizer", candidate)
    assert (found["passed"], found["against"]) == (True, None)
    assert "there is no other tokenizer" in as_text("gate", "--db", "db", "--tokenizer", candidate)


def test_beyond_a_limit_it_ends_with_5_and_one_line(fuseid, as_text, folder, candidate, limit):
    limit("churn 1: {at_most: 100%}", "largest_bucket: {at_most: 0}")
    status, out, err = fuseid("gate", "--db", "db", "--tokenizer", candidate)
    assert (status, err) == (5, "error: 1 of 2 limits do not hold: largest_bucket\n")
    assert "fails" in out
    status, out, _ = fuseid("gate", "--db", "db", "--tokenizer", candidate, "--json")
    assert (status, '"passed": false' in out) == (5, True)
    status, _, err = fuseid("promote", "--db", "db", candidate)
    assert (status, err.count("\n")) == (5, 1)
    assert err.endswith("shows the figures, --force overrules them\n")
    assert Store.open(folder / "db").setting("champion") != candidate
    assert "promoted by --force, although" in as_text("promote", "--db", "db", candidate, "--force")
    assert Store.open(folder / "db").setting("champion") == candidate
    assert "forced 1" in as_text("runs", "--db", "db", "--last", "1")


def test_without_a_result_a_promotion_names_the_command_that_makes_one(fuseid, refused, candidate, limit):
    limit("churn 1: {at_most: 100%}")
    said = refused("promote", "--db", "db", candidate, status=1)
    assert f"the gate has no result for {candidate}; `fuseid gate --db db --tokenizer {candidate}` makes one" in said
