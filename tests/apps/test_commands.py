"""Commands that do what they are for: for machines, for people, and as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image


def test_ready_made_vectors_from_ingest_to_export_in_json(told, folder):
    run = told("ingest", "--db", "new", "--vectors", "vectors.npy")
    assert run["counts"]["committed"] == 40
    assert told("ingest", "--db", "new", "--vectors", "vectors.npy")["counts"]["unchanged"] == 40
    fitted = told("fit", "--db", "new", "--codebooks", "5,2")
    assert fitted["counts"]["assigned"] == 40
    assert told("assign", "--db", "new")["counts"]["assigned"] == 0
    found = told("lookup", "--db", "new", "--id", "v03", "-k", "4")
    assert found[0]["content_id"] in {f"v{i:02d}" for i in range(3, 40, 5)}
    assert len(found) == 4
    below = told("lookup", "--db", "new", "--sid", found[0]["sid"].split("-")[0], "-k", "100")
    assert found[0]["content_id"] in {row["content_id"] for row in below}
    assert told("explain", "v03", "--db", "new")["sid"] in {row["sid"] for row in below}
    exported = told("export", "ids", "--db", "new", "--out", "ids")
    assert exported["items"] == 40
    assert exported["codebook_sizes"] == [5, 2]
    assert pq.read_table(folder / "ids" / "ids-00000.parquet").num_rows == 40
    assert told("promote", exported["tokenizer_id"], "--db", "new")["job"] == "promote"


def test_the_same_for_people(shown, folder):
    for arguments, said in [
        (["lookup", "--db", "db", "--id", "v03"], "content_id"),
        (["explain", "v03", "--db", "db"], "items that share each prefix"),
        (["fit", "--db", "db"], "assigned"),
        (["export", "ids", "--db", "db", "--out", "ids"], "exported to ids"),
    ]:
        assert said in shown(*arguments)


def test_rejected_items_are_no_failure_and_words_from_outside_are_shown_as_they_are(
    shown, told, settings, tmp_path, manifest
):
    (tmp_path / "fuseid.yaml").write_text(settings())
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    rows = [{"content_id": f"t{i}", "caption": f"[bold]number[/] {i} \x1b[31m"} for i in range(5)]
    path = manifest(tmp_path, {"content_id": "a", "uri": "red.png"}, {"content_id": "bad", "uri": "no.png"}, *rows)
    run = told("ingest", path, "--db", "db", "--runner", "local")
    assert run["counts"] | {"committed": 6, "rejected": 1} == run["counts"]
    assert run["rejected"] == {"MissingFile": 1}
    items = {row["stage"]: row["items"] for row in run["stages"]}
    assert items | {"decode": 7, "encode": 6, "commit": 7, "total": 7} == items
    assert run["device_seconds_per_thousand_items"] > 0
    out = shown("lookup", "--db", "db", "--text", "number 3")
    assert "[bold]number[/]" in out
    assert "\x1b" not in out
    assert "MissingFile" in shown("explain", "bad", "--db", "db")


def test_the_database_may_be_named_by_the_environment(shown, folder, monkeypatch):
    monkeypatch.setenv("FUSEID_DB", str(folder / "db"))
    assert "v03" in shown("explain", "v03")


def test_the_log_tells_each_rejected_item_with_run_and_id(told, settings, tmp_path, monkeypatch, caplog, manifest):
    monkeypatch.setenv("FUSEID_LOG", "info")
    (tmp_path / "fuseid.yaml").write_text(settings(clip={"model": "fake:8"}))
    path = manifest(tmp_path, {"content_id": "c", "caption": "words"}, {"content_id": "a\nb"})
    run_id = told("ingest", path, "--db", "db", "--runner", "local")["run_id"]
    (line,) = [record.getMessage() for record in caplog.records if "rejected " in record.getMessage()]
    assert line.startswith(f"run {run_id}: rejected 'a\\nb' at decode, attempt 1: EmptyItem: ")
    assert "\n" not in line


# As a process


def installed(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as it is installed, in an environment that sets nothing of it."""
    command = [str(Path(sys.executable).with_name("fuseid")), *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("FUSEID_")}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_a_command_that_is_told_to_stop_keeps_what_is_finished(tmp_path, manifest):
    """SIGTERM, as a scheduler sends it: status 143, one line, and a run that the next one goes on with."""
    (tmp_path / "fuseid.yaml").write_text("clip: {model: 'fake:8'}\nrun: {wave_rows: 50, block_rows: 10}\n")
    lines = [{"content_id": f"t{i}", "caption": f"number {i}"} for i in range(100_000)]
    path = manifest(tmp_path, *lines)
    command = [Path(sys.executable).with_name("fuseid"), "ingest", path, "--db", "db", "--runner", "local"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "db" / "contents.lance").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err.startswith("error: stopped by SIGTERM: ")
    assert err.count("\n") == 1
    from fuseid.pipelines.store.store import Store

    store = Store.open(tmp_path / "db")
    (run,) = store.dataset("runs").to_table().to_pylist()
    done = store.dataset("contents").count_rows()
    assert run["outcome"] == "stopped"
    assert 0 < done < 100_000
    assert json.loads(run["counts"])["committed"] == done
    assert f"{done} items" in err


def test_the_installed_command_gives_status_and_one_line(made):
    done = installed("lookup", "--db", "db", "--sid", "0", "--json", cwd=made)
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["sid"].split("-")[0] for row in json.loads(done.stdout)} == {"0"}
    failed = installed("explain", "nobody", "--db", "db", cwd=made)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "error: no item 'nobody' in db\n"
    wrong = installed("lookup", "--nope", cwd=made)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["lookup", "--db", "db", "--sid", "0"],
        ["explain", "v03", "--db", "db"],
        ["rejected", "--db", "db"],
        ["export", "ids", "--db", "db", "--out", "out"],
        ["export", "sequences", "--db", "db", "--interactions", "events.csv", "--out", "out", "--runner", "local"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_what_needs_no_model_imports_neither_torch_nor_ray(folder, events, arguments):
    code = (
        "import sys\n"
        "from fuseid.apps.cli import main\n"
        f"sys.argv = ['fuseid', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('HEAVY', sorted({'torch', 'ray', 'open_clip', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"
