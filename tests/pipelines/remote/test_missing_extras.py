"""Without the extras `s3` and `gcs` nothing at these addresses is opened, and one line names the remedy."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import pytest

PACKAGES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs")}


@pytest.fixture(params=PACKAGES)
def scheme(request, monkeypatch) -> str:
    monkeypatch.setitem(sys.modules, PACKAGES[request.param][0], None)
    # fsspec keeps the classes that it has imported.
    for name in ("s3", "s3a", "gs", "gcs"):
        monkeypatch.delitem(import_module("fsspec.registry")._registry, name, raising=False)
    return request.param


@pytest.fixture
def line(scheme, refused):
    def run(*arguments: object) -> None:
        said = refused(*arguments)
        assert f"install fuseid[{PACKAGES[scheme][1]}]" in said

    return run


@pytest.fixture
def config(scheme, directory):
    path = directory / "fuseid.yaml"
    path.write_text(f"source: {{schemes: [{scheme}], allow: ['{scheme}://bucket/']}}\n")
    return path


def test_a_source_at_such_an_address(scheme, config, line, directory):
    line("ingest", f"{scheme}://bucket/items.jsonl", "--db", "db", "--config", config, "--runner", "local")
    assert not (directory / "db").exists()


def test_media_at_such_an_address_end_the_run_and_reject_nothing(scheme, config, line, directory, fuseid):
    rows = [{"content_id": "a", "caption": "words"}, {"content_id": "b", "uri": f"{scheme}://bucket/b.png"}]
    (directory / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line("ingest", "items.jsonl", "--db", "db", "--config", config, "--runner", "local")
    status, out, _ = fuseid("rejected", "--db", "db", "--json")
    assert status == 0
    assert "bucket" not in out


def test_a_copy_of_a_database_at_such_an_address(scheme, line):
    line("restore", "--from", f"{scheme}://bucket/copy", "--db", "db")
