"""`fuseid check`, `backup`, `restore` and `upgrade` as text and as JSON, and how other commands report damage."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from fuseid.pipelines.store.store import Store


def damage_lease(folder: Path) -> None:
    min((folder / "db" / "lease.lance" / "_versions").glob("*.manifest")).write_bytes(b"")


def damage_contents(folder: Path) -> None:
    for path in (folder / "db" / "contents.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:100])


def damage_ledger(folder: Path) -> None:
    for path in (folder / "db" / "assignments.lance" / "data").iterdir():
        path.unlink()


def damage_index(folder: Path) -> None:
    for path in (folder / "db" / "contents.lance").glob("_indices/*/*"):
        path.write_bytes(b"")


def damage_rejected(folder: Path) -> None:
    min((folder / "db" / "rejected.lance" / "_versions").glob("*.manifest")).write_bytes(b"\0" * 300)


def test_a_whole_database_is_shown_and_ends_with_0(as_text, as_json, folder):
    out = as_text("check", "--db", "db")
    assert "40 rows" in out
    assert "nothing" in out
    assert as_json("check", "--db", "db")["damages"] == []


def test_damage_ends_with_1_and_its_repair_with_0(fuseid, as_text, folder):
    damage_lease(folder)
    status, out, err = fuseid("check", "--db", "db")
    assert (status, err) == (1, "")
    for words in ("lease", "manifest", "--repair"):
        assert words in " ".join(out.split())
    out = as_text("check", "--db", "db", "--repair")
    assert "repaired" in out
    assert as_text("lookup", "--db", "db", "--sid", "0")


def test_backup_and_restore_report_what_they_copied_and_what_they_cannot_know(as_text, as_json, folder):
    assert "40 rows" in as_text("backup", "--db", "db", "--to", "copy")
    as_json("export", "ids", "--db", "db", "--out", "ids")
    out = as_text("restore", "--from", "copy", "--db", "again", "--exports", "ids")
    assert "IDs from exports" in out
    assert "it may give them to other items" in out
    assert Store.open(folder / "again").dataset("contents").count_rows() == 40


FROZEN = Path(__file__).parents[1] / "data" / "frozen" / "schema-3-vectors.tar.gz"


def test_a_refusal_names_the_command_that_upgrades_as_it_can_be_pasted(refused, as_text, as_json, fuseid, tmp_path):
    with tarfile.open(FROZEN) as archive:
        archive.extractall(tmp_path / "an old one", filter="data")
    db = tmp_path / "an old one" / "db"
    shutil.copytree(db, tmp_path / "second")
    (command,) = re.findall("`(fuseid upgrade .*?)`", refused("retry", "--db", db, status=1))
    out = as_text(*shlex.split(command)[1:])
    assert "upgraded from schema version 3 to 4" in out
    assert as_json("retry", "--db", db)["counts"] == {"marked": 2, "left_alone": 0}
    assert as_json("upgrade", "--db", tmp_path / "second")["counts"] == {"rows": 48, "changed": 40}
    again = as_json("upgrade", "--db", tmp_path / "second")
    assert (again["run_id"], again["counts"]) == ("", {})
    assert again["notes"] == [f"{tmp_path / 'second'} has schema version 4, the present one; nothing to upgrade"]


@pytest.mark.parametrize("damage", [damage_lease, damage_contents, damage_ledger, damage_index, damage_rejected])
@pytest.mark.slow
def test_every_command_names_the_damaged_table_and_the_remedy(refused, fuseid, folder, events, damage):
    table = damage.__name__.partition("_")[2]
    table = {"index": "contents", "ledger": "assignments"}.get(table, table)
    shutil.copy(folder / "fuseid.yaml", folder / "other.yaml")
    damage(folder)
    commands = [
        ("ingest", "--vectors", "vectors.npy"), ("fit",), ("assign",), ("retry",), ("promote", "rq-kmeans-0"),
        ("lookup", "--sid", "0"), ("lookup", "--like", "v00"), ("explain", "v00"), ("report",), ("rejected",),
        ("export", "ids", "--out", "ids"), ("export", "trie", "--out", "trie"), ("backup", "--to", "copy"),
        ("export", "sequences", "--interactions", events, "--out", "histories", "--runner", "local"),
    ]  # fmt: skip
    ended = {}
    for command in commands:
        status, out, err = fuseid(*command, "--db", "db")
        if status:
            assert (status, out, err.count("\n")) == (1, "", 1), (command, err)
            assert f"the table {table} of db is damaged: " in err, (command, err)
            assert "`fuseid check --db db --repair`" in err, (command, err)
        ended[command[0]] = status
    # Writing commands are refused for any damage; reading ones only where they read the damaged table.
    assert {ended[job] for job in ("ingest", "fit", "assign", "retry", "promote")} == {1}


def ids_of(db: Path) -> dict[str, str]:
    rows = Store.open(db).dataset("contents").to_table(columns=["content_id", "sid"])
    return dict(zip(rows["content_id"].to_pylist(), rows["sid"].to_pylist(), strict=True))


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_named_and_making_room_is_enough(refused, as_text, folder, small_disk, monkeypatch):
    shutil.copytree(folder / "db", small_disk / "db")
    before = ids_of(folder / "db")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    line = refused("fit", "--db", small_disk / "db", "--seed", "7", status=1)
    assert f"the disk of {small_disk}" in line
    assert "make room and run the same command again" in line
    filler.unlink()
    as_text("fit", "--db", small_disk / "db", "--seed", "7")
    store = Store.open(small_disk / "db")
    assert ids_of(small_disk / "db") == before
    assert len(set(store.dataset("assignments").to_table()["tokenizer_id"].to_pylist())) == 2


@pytest.mark.slow
def test_a_full_temporary_folder_is_named(folder, small_disk):
    """Where the list of the source is kept while it is read."""
    (small_disk / "filler").write_bytes(bytes((3 << 20) - (1 << 16)))
    rows = "".join(f'{{"content_id": "{n:06d}", "caption": "{"word " * 30}{n}"}}\n' for n in range(20_000))
    (folder / "many.jsonl").write_text(rows)
    command = [sys.executable, "-m", "fuseid.apps.cli", "ingest", "many.jsonl", "--db", "new", "--runner", "local"]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(small_disk)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"the disk of {small_disk}" in done.stderr
    assert done.stderr.count("\n") == 1
