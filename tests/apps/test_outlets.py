"""Commands whose reader is gone: nothing is said about it, no work is lost, the exit status is that of the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from fuseid.pipelines.store.store import Store

FUSEID = str(Path(sys.executable).with_name("fuseid"))
SURFACE = json.loads((Path(__file__).parents[1] / "data" / "cli_surface.json").read_text(encoding="utf-8"))
VECTORS = ["ingest", "--db", "new", "--vectors", "vectors.npy", "--name", "audio"]
# What each command is run with, in a folder that has a database `db`, and how it ends.
QUICK = {
    "": ["--help"],
    "lookup": ["lookup", "--db", "db", "--like", "v03"],
    "ingest": VECTORS,
}
OTHERS = {
    "adopt": ["adopt", "--db", "db", "--ids", "ids.csv"],
    "assign": ["assign", "--db", "db"],
    "backup": ["backup", "--db", "db", "--to", "copy"],
    "check": ["check", "--db", "db"],
    "config": ["config", "--help"],
    "config check": ["config", "check"],
    "config schema": ["config", "schema"],
    "demo": ["demo", "--runner", "local"],
    "drop": ["drop", "--db", "db", "--generation", "1"],
    "evaluate": ["evaluate", "--db", "db", "--sequences", "nothing"],
    "explain": ["explain", "--db", "db", "v03"],
    "export": ["export", "--help"],
    "export ids": ["export", "ids", "--db", "db", "--out", "ids"],
    "export sequences": [
        *("export", "sequences", "--db", "db", "--interactions", "events.csv", "--out", "s", "--runner", "local")
    ],
    "export tags": ["export", "tags", "--db", "db"],
    "export trie": ["export", "trie", "--db", "db", "--out", "trie"],
    "export vocabulary": ["export", "vocabulary", "--db", "db", "--out", "vocabulary.json"],
    "fit": ["fit", "--db", "db"],
    "gate": ["gate", "--db", "db", "--tokenizer", "CHAMPION"],
    "neighbours": ["neighbours", "--db", "db", "--out", "neighbours", "--runner", "local"],
    "pairs": ["pairs", "--interactions", "events.csv", "--out", "p.parquet", "--method", "window", "--least", "1"],
    "maintain": ["maintain", "--db", "db"],
    "plan": ["plan", "--db", "db", "--vectors", "vectors.npy"],
    "promote": ["promote", "--db", "db", "CHAMPION"],
    "rejected": ["rejected", "--db", "db"],
    "remove": ["remove", "--db", "db", "--ids", "ids.csv"],
    "report": ["report", "--db", "db"],
    "restore": ["restore", "--db", "restored", "--from", "copy"],
    "rollback": ["rollback", "--db", "db"],
    "retry": ["retry", "--db", "db"],
    "runs": ["runs", "--db", "db"],
    "tokenizers": ["tokenizers", "--db", "db"],
    "upgrade": ["upgrade", "--db", "db"],
}
# Commands that fail on what they are given here.
FAILS = {"drop", "evaluate", "gate", "rollback"}


def unread(arguments: Sequence[str], folder: Path, stderr: bool = False) -> tuple[int, bytes]:
    """Runs a command whose output, and with `stderr` also its log, nobody reads -> status, what it wrote on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "FUSEID_LOG": "INFO"} if stderr else os.environ
    try:
        done = subprocess.run(
            [FUSEID, *arguments], cwd=folder, stdout=writer, stderr=writer if stderr else subprocess.PIPE,
            stdin=subprocess.DEVNULL, env=environment, timeout=300, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    return done.returncode, done.stderr or b""


def test_every_command_is_among_these() -> None:
    assert {*QUICK, *OTHERS} == {*SURFACE}


@pytest.mark.parametrize("command", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_command_whose_output_nobody_reads_ends_as_it_would(folder: Path, events: Path, command: str) -> None:
    (folder / "ids.csv").write_text("content_id,sid\nv00,1-2\n")
    if command == "restore":
        subprocess.run([FUSEID, *OTHERS["backup"]], cwd=folder, check=True, capture_output=True)
    champion = str(Store.open(folder / "db").setting("champion"))
    arguments = [champion if word == "CHAMPION" else word for word in {**QUICK, **OTHERS}[command]]
    status, err = unread(arguments, folder)
    if command in FAILS:
        assert status in (1, 2)
        assert err.startswith(b"error: ")
        assert err.count(b"\n") == 1
    else:
        assert (status, err) == (0, b"")


def test_a_run_whose_log_nobody_reads_loses_no_work(folder: Path) -> None:
    assert unread(VECTORS, folder, stderr=True) == (0, b"")
    store = Store.open(folder / "new")
    assert store.dataset("contents").count_rows() == 40
    assert store.dataset("runs").to_table(columns=["outcome"])["outcome"].to_pylist() == ["done"]


@pytest.mark.slow
def test_a_run_on_ray_whose_log_nobody_reads_loses_no_work(folder: Path) -> None:
    assert unread([*VECTORS, "--runner", "ray"], folder, stderr=True) == (0, b"")
    assert Store.open(folder / "new").dataset("contents").count_rows() == 40


@pytest.mark.parametrize(
    ("script", "status", "out", "err"),
    [
        ("{fuseid} explain --db db v03 --json | head -c 1", 0, b"{", b""),
        (
            "{fuseid} lookup --db db --sid 9999 --json >/dev/full",
            1,
            b"",
            b"cannot write to standard output: No",
        ),
        ("{fuseid} lookup --db nowhere --sid 1 2>/dev/full", (1, 2), b"", b""),
        ("{fuseid} export tags --db db >&-", 0, b"", b""),
    ],
)
def test_a_stream_that_is_full_or_closed(
    folder: Path, script: str, status: int | tuple[int, ...], out: bytes, err: bytes
) -> None:
    line = f"set -o pipefail; {script.format(fuseid=FUSEID)}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, check=False)
    assert done.returncode in (status if isinstance(status, tuple) else (status,))
    assert done.stdout == out
    assert done.stderr == (b"error: " + err + done.stderr.partition(err)[2] if err else b"")
    assert done.stderr.count(b"\n") == bool(err)
