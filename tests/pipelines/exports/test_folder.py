"""The folder of an export: complete or absent, and its manifest detects altered files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.folder import new_file, new_folder, read_manifest, write_manifest


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with new_folder(tmp_path / "out") as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a.txt").write_text("abc")
        pq.write_table(pa.table({"x": [1, 2]}), folder / "b.parquet")
        write_manifest(folder, {"format": "test", "name": "ä"})
    return tmp_path / "out"


def test_the_manifest_names_every_file_with_its_size_hash_and_rows(written):
    manifest = read_manifest(written)
    assert list(manifest["files"]) == ["b.parquet", "part/a.txt"]
    # printf abc | b2sum -l 128
    assert manifest["files"]["part/a.txt"] == {"bytes": 3, "blake2b": "cf4ab791c62b8d2b2109c90275287816"}
    assert manifest["files"]["b.parquet"]["rows"] == 2
    assert (manifest["format"], manifest["name"]) == ("test", "ä")
    assert (written.stat().st_mode & 0o777) == 0o755


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "part" / "a.txt").unlink(), "lacks part/a.txt"),
        (lambda folder: (folder / "part" / "a.txt").write_text("abd"), "altered or cut short"),
        (lambda folder: (folder / "part" / "a.txt").write_text("ab"), "altered or cut short"),
        (lambda folder: (folder / "manifest.json").unlink(), "cannot read the manifest"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "cannot read the manifest"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff"), "cannot read the manifest"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "cannot read the manifest"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "names no files"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": []}'), "names no files"),
    ],
)
def test_a_missing_or_altered_file_is_named(written, damage, said):
    damage(written)
    with pytest.raises(BadInput, match=said):
        read_manifest(written)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "part/../../outside.txt"])
def test_no_file_outside_the_folder_is_looked_at(written, name):
    (written.parent / "outside.txt").write_text("abc")
    manifest = read_manifest(written)
    manifest["files"][name] = manifest["files"]["part/a.txt"]
    (written / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="which no export writes"):
        read_manifest(written)


def half_written(out: Path) -> None:
    with new_folder(out) as folder:
        (folder / "half").write_text("half")
        raise ZeroDivisionError


def test_a_failure_leaves_nothing_and_an_empty_folder_stays(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with pytest.raises(ZeroDivisionError):
            half_written(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="cannot write"), new_folder(tmp_path / "file" / "out"):
        pass


def test_a_link_to_an_empty_folder_is_filled_where_it_leads(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with new_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "a").read_text() == "a"


# A name has 255 bytes at most; these have three a letter.
LONG = "\u9805" * 85


def test_the_longest_folder_name_is_made_and_a_longer_one_refused(tmp_path):
    for name in (LONG, "a" + LONG[1:]):
        with new_folder(tmp_path / name) as folder:
            (folder / "a").write_text("a")
        with pytest.raises(ZeroDivisionError):
            half_written(tmp_path / f"{name[:-1]}b")
    with pytest.raises(BadInput, match="cannot write"), new_folder(tmp_path / f"{LONG}a"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {LONG, "a" + LONG[1:]}


# Processes that end in the middle

FILLS = """
import sys, time
from pathlib import Path
from fuseid.pipelines.exports.folder import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def filling() -> Iterator[Callable[[Path], tuple[subprocess.Popen, Path]]]:
    """Starts to fill a folder in another process; -> the process, and its scratch folder."""
    started = []

    def begin(out: Path) -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", FILLS, str(out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def hidden(parent: Path) -> set[str]:
    return {path.name for path in parent.iterdir() if path.name.startswith(".")}


def test_the_remains_of_a_killed_process_are_removed_and_those_of_a_live_one_kept(filling, tmp_path):
    """Also files of others with similar names, and those of a folder with a longer name."""
    out = tmp_path / "out"
    others = {".out-mine", ".out-20240101", ".out-a.fuseid", ".out-link0000.fuseid"}
    (tmp_path / ".out-link0000.fuseid").symlink_to(tmp_path, target_is_directory=True)
    for name in others - {".out-link0000.fuseid"}:
        (tmp_path / name).mkdir()
    killed, left = filling(out)
    _, filled = filling(out)
    _, longer = filling(tmp_path / "out-longer")
    with new_folder(tmp_path / "elsewhere"):
        pass
    assert hidden(tmp_path) == others | {left.name, filled.name, longer.name}
    killed.kill()
    killed.wait()
    assert (left / "half").exists()
    with new_folder(out) as folder:
        (folder / "whole").write_text("whole")
        assert hidden(tmp_path) == others | {filled.name, longer.name, folder.name}
    assert (filled / "half").read_text() == "half"
    assert [path.name for path in out.iterdir()] == ["whole"]


def test_a_file_is_whole_or_absent_and_the_next_one_removes_what_a_killed_process_left(filling, tmp_path):
    out = tmp_path / "out"
    killed, _ = filling(out)
    killed.kill()
    killed.wait()
    with pytest.raises(UnicodeEncodeError), new_file(out) as scratch:
        scratch.write_text("half \ud800", encoding="utf-8")
    assert hidden(tmp_path) == set()
    assert not out.exists()
    with new_file(out) as scratch:
        scratch.write_text("whole")
    assert (out.read_text(), out.stat().st_mode & 0o777, hidden(tmp_path)) == ("whole", 0o644, set())
    with pytest.raises(BadInput, match="exists"), new_file(out):
        pass


def test_the_remains_of_a_long_name_are_known_by_its_beginning(filling, tmp_path):
    killed, left = filling(tmp_path / LONG)
    killed.kill()
    killed.wait()
    assert hidden(tmp_path) == {left.name}
    with new_folder(tmp_path / LONG) as folder:
        assert hidden(tmp_path) == {folder.name}


def test_an_interrupted_export_removes_its_folder(filling, tmp_path):
    process, folder = filling(tmp_path / "out")
    assert folder.exists()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert list(tmp_path.iterdir()) == []
