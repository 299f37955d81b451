"""`fuseid runs` and `fuseid tokenizers` as text and as JSON, and what a log shows of long work."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fuseid.apps.history_text import print_history
from fuseid.pipelines.jobs import progress
from fuseid.pipelines.runs import History, RunInfo


def test_runs_are_shown_with_outcome_counts_and_the_age_of_the_last_success(as_text, as_json, folder):
    out = " ".join(as_text("runs", "--db", "db").split())
    for words in ("fit", "ingest", "done", "assigned 40", "committed 40", "stages of", "maintain", "ago"):
        assert words in out
    found = as_json("runs", "--db", "db", "--last", 1)
    (run,) = found["runs"]
    assert (run["job"], run["outcome"], run["counts"]["assigned"]) == ("fit", "done", 40)
    assert datetime.fromisoformat(run["started_at"]) < datetime.fromisoformat(run["finished_at"])
    assert [each["job"] for each in found["last_success"]] == ["fit", "ingest"]
    assert found["late"] == []


def test_items_that_lack_a_vector_are_counted_and_explained(capsys):
    when = datetime(2024, 5, 1, tzinfo=UTC)
    run = RunInfo("r1", "ingest", "done", when, when, 1.0, {"committed": 9}, {}, None, [], None, None, None)
    print_history(History([run], []))
    assert "lack a vector" not in capsys.readouterr().out
    print_history(History([replace(run, counts={"committed": 9, "incomplete": 2})], []))
    text = " ".join(capsys.readouterr().out.split())
    assert "committed 9, incomplete 2" in text
    assert "incomplete: items that lack a vector which its encoder could not compute" in text


def test_an_age_beyond_the_limit_ends_with_1_and_a_line_for_each_job(fuseid, folder):
    assert fuseid("runs", "--db", "db", "--job", "fit", "--max-age", "2h")[0] == 0
    status, _, err = fuseid("runs", "--db", "db", "--job", "fit", "--job", "adopt", "--max-age", "0m")
    first, second = err.splitlines()
    assert status == 1
    assert re.match(r"late: the last successful run of fit, \S+, ended .* ago, more than 0:00:00", first)
    assert second == "late: no run of adopt has succeeded yet"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-age", "2h"], "--max-age is that of a --job"),
        (["--job", "fit", "--max-age", "soon"], "like 90m, 26h or 2d, got 'soon'"),
        (["--job", "ingets"], "unknown job 'ingets'; did you mean ingest"),
        (["--last", "0"], "--last must be at least 1"),
    ],
)
def test_wrong_options_are_one_line(fuseid, folder, options, words):
    status, out, err = fuseid("runs", "--db", "db", *options)
    assert status != 0
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_tokenizers_are_shown_with_role_sizes_and_figures(as_text, as_json, folder):
    (one,) = as_json("tokenizers", "--db", "db")["tokenizers"]
    assert (one["role"], one["codebook_sizes"], one["items"]) == ("champion", [4, 3], 40)
    out = as_text("tokenizers", "--db", "db")
    for words in (one["id"], "champion", "4-3", "40"):
        assert words in out


def test_a_fit_names_its_tokenizer_and_role_as_fields(as_json, folder):
    champion = as_json("tokenizers", "--db", "db")["tokenizers"][0]["id"]
    fitted = as_json("fit", "--db", "db", "--seed", 5)
    assert (fitted["role"], fitted["tokenizer_id"] != champion) == ("candidate", True)
    promoted = as_json("promote", "--db", "db", fitted["tokenizer_id"])
    assert (promoted["role"], promoted["tokenizer_id"]) == ("champion", fitted["tokenizer_id"])


def test_off_a_terminal_long_work_is_a_line_a_minute_on_standard_error(fuseid, folder, monkeypatch):
    logging.getLogger("fuseid.progress").disabled = False
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.__setitem__(0, now[0] + 70) or now[0])
    status, out, err = fuseid("backup", "--db", "db", "--to", "copy", "--json")
    assert status == 0
    assert out.startswith("{")
    assert re.search(r"^\d{4}-\d\d-\d\d \S+ copy bytes: [\d,]+ of [\d,]+, [\d,.]+/s, about ", err, re.MULTILINE)
    assert logging.getLogger("fuseid.progress").level == logging.INFO
