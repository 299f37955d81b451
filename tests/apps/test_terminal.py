"""What comes from a catalogue never steers the terminal, in any command's text; JSON keeps it as it is."""

from __future__ import annotations

import json
import logging

import pytest

from fuseid.apps import logs
from fuseid.core.config import Config
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.open import open_source

STEERS = "\x1b[31m\r\a\x9b2J\u202e"
ID = f"a{STEERS}b"


@pytest.fixture(scope="module")
def database(tmp_path_factory, manifest) -> str:
    """Two items, and a rejected one, with names that steer a terminal."""
    folder = tmp_path_factory.mktemp("steers")
    rows = [
        {"content_id": ID, "caption": "a red apple", "attributes": {f"k{STEERS}": STEERS}},
        {"content_id": "plain", "caption": "green"},
        {"content_id": f"r{STEERS}", "uri": f"missing{STEERS}.png"},
    ]
    config = Config.model_validate({"clip": {"model": "fake:8", "device": "cpu"}})
    ingest(str(folder / "db"), open_source(manifest(folder, *rows)), config, LocalRunner())
    return str(folder / "db")


def steers(text: str) -> set[str]:
    return {character for line in text.split("\n") for character in line if not character.isprintable()}


@pytest.mark.parametrize(
    "arguments",
    [["explain", ID], ["lookup", "--id", "plain"], ["lookup", "--text", "red"], ["rejected"], ["explain", f"no{ID}"],
     ["lookup", "--sid", ID], ["lookup", "--id", "plain", "--where", f"'{ID}'"], ["promote", ID], [f"no{ID}"]],
    ids=["explain", "id", "text", "rejected", "no item", "no sid", "no condition", "no tokenizer", "no command"],
)  # fmt: skip
def test_no_command_lets_foreign_text_steer_the_terminal(fuseid, database, arguments):
    database_option = [] if arguments[0].startswith("no") else ["--db", database]
    _, out, err = fuseid(*arguments, *database_option)
    assert out + err
    assert not steers(out + err)


def test_json_has_the_id_as_it_is(fuseid, database):
    status, out, _ = fuseid("explain", ID, "--db", database, "--json")
    assert (status, json.loads(out)["content_id"]) == (0, ID)


def test_log_lines_are_safe_too():
    record = logging.LogRecord("fuseid", logging.INFO, "", 0, "rejected %s", (ID,), None)
    assert not steers(logs._SafeFormatter("%(message)s").format(record))
