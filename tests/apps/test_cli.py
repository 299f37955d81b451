"""The command line: exit statuses, one line for what is wrong, JSON for machines, and a surface that is kept."""

from __future__ import annotations

import json
import logging
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

DATA = Path(__file__).parents[1] / "data"
SURFACE = json.loads((DATA / "cli_surface.json").read_text(encoding="utf-8"))
CONFIG = """
clip: {batch_size: 8, device: cpu}
decode: {workers: 1}
tokenizer: {codebook_sizes: [4, 3], iterations: 5}
fusion: {dim: 8}
"""


@pytest.fixture
def refused(fuseid):
    """Runs a command that must fail with one line on standard error; returns that line."""

    def run(*arguments: object, status: int = 1) -> str:
        found, out, err = fuseid(*arguments)
        assert (found, out) == (status, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with `fuseid.yaml`, `vectors.npy`, and a database `db` of those vectors with IDs."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "fuseid.yaml").write_text(CONFIG)
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(5, 8))
    vectors = centres[np.arange(40) % 5] + 0.2 * generator.normal(size=(40, 8))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    (folder / "vectors.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(40)))
    from fuseid.core.config import load_config
    from fuseid.pipelines.fit import fit
    from fuseid.pipelines.ingest import ingest
    from fuseid.pipelines.runners import LocalRunner
    from fuseid.pipelines.sources import Vectors

    config = load_config(folder / "fuseid.yaml")
    ingest(str(folder / "db"), Vectors(folder / "vectors.npy"), config.model_copy(update={"clip": None}), LocalRunner())
    fit(str(folder / "db"), config)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of `made` that the test may change; the working directory of `fuseid`."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


def manifest(folder: Path, *rows: dict) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# What is frozen


def test_commands_and_options_are_those_of_the_golden():
    found = runpy.run_path(str(DATA / "make_goldens.py"))["cli_surface"]()
    assert found == SURFACE, "the command line changed; if that is meant, run tests/data/make_goldens.py"


@pytest.mark.parametrize("command", ["", "export", *SURFACE])
def test_every_command_has_help_that_names_its_options(fuseid, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, err = fuseid(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert "Usage: fuseid" in out
    for parameter in SURFACE.get(command, {}).values():
        flags = parameter["flags"]
        assert flags == "argument" or all(flag in out for flag in flags)


def test_every_database_command_takes_db_and_json():
    assert all({"db", "json"} <= parameters.keys() for name, parameters in SURFACE.items() if name != "demo")


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["lookup", "--db", "x", "--nope"], "--nope"),
        (["lokup"], "lokup"),
        (["lookup", "--text", "a"], "--db"),
        (["lookup", "--db", "x", "-k", "many"], "-k"),
        (["explain", "--db", "x"], "content_id"),
        (["export", "ids", "--db", "x"], "--out"),
        (["export", "nothing"], "nothing"),
        (["fit", "--db"], "--db"),
        (["fit", "--db", "x", "surplus"], "surplus"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(refused, arguments, named):
    assert named in refused(*arguments, status=2)


@pytest.mark.parametrize("arguments", [[], ["export"]])
def test_a_command_without_its_arguments_shows_its_help(fuseid, arguments):
    status, out, err = fuseid(*arguments)
    assert status == 2
    assert "Usage: fuseid" in out + err
    assert "Commands" in out + err


# Bad input


def test_missing_manifest(refused):
    assert "no such manifest or folder: nowhere.csv" in refused("ingest", "nowhere.csv", "--db", "db")


def test_empty_manifest(refused, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert "lists no items" in refused("ingest", "empty.jsonl", "--db", "db", "--runner", "local")
    assert not (tmp_path / "db").exists()


def test_missing_column(refused, tmp_path):
    (tmp_path / "m.csv").write_text("content_id,url\na,b\n")
    line = refused("ingest", "m.csv", "--db", "db", "--runner", "local")
    assert "m.csv has no column uri or caption; it has content_id, url" in line


def test_an_id_that_occurs_twice(refused, tmp_path):
    manifest(tmp_path, {"content_id": "a'b", "caption": "x"}, {"content_id": "a'b", "caption": "y"})
    assert "a'b" in refused("ingest", "manifest.jsonl", "--db", "db", "--runner", "local")


@pytest.mark.parametrize("model", ["builtin:nope", "ViT-B-99/openai", "local-dir:nowhere", "ftp:x"])
def test_unknown_model(refused, tmp_path, model):
    manifest(tmp_path, {"content_id": "a", "caption": "x"})
    assert model.split(":")[-1].split("/")[0] in refused(
        "ingest", "manifest.jsonl", "--db", "db", "--runner", "local", "--clip", model
    )
    assert not (tmp_path / "db").exists()


def test_unknown_config_key(refused, tmp_path):
    (tmp_path / "fuseid.yaml").write_text("run: {wave_row: 5}\n")
    line = refused("fit", "--db", "db")
    assert "run.wave_row" in line
    assert "wave_rows" in line


def test_a_config_that_is_not_there(refused):
    assert "nowhere.yaml" in refused("fit", "--db", "db", "--config", "nowhere.yaml")


@pytest.mark.parametrize("source", [[], ["manifest.jsonl", "--vectors", "vectors.npy"]])
def test_ingest_takes_exactly_one_source(refused, source):
    assert "name one source" in refused("ingest", "--db", "db", *source)


def test_unknown_runner_and_format_and_codebooks(refused, folder):
    assert "'slurm'" in refused("ingest", "m.csv", "--db", "db", "--runner", "slurm")
    assert "'csv'" in refused("export", "ids", "--db", "db", "--out", "ids", "--format", "csv")
    assert "'a,b'" in refused("fit", "--db", "db", "--codebooks", "a,b")
    assert "codebook_sizes" in refused("fit", "--db", "db", "--codebooks", "0")
    assert "codebook_sizes" in refused("fit", "--db", "db", "--codebooks", "4,-1")


def test_vectors_of_another_size(refused, folder):
    np.save(folder / "other.npy", np.ones((1, 7), np.float32))
    (folder / "other.ids.txt").write_text("x\n")
    assert "external vectors of 7 numbers" in refused("ingest", "--db", "db", "--vectors", "other.npy")


def test_a_tokenizer_of_another_fusion(refused, folder, fuseid):
    np.save(folder / "vectors.npy", -np.load(folder / "vectors.npy")[:20] * [1, 2, 3, 4, 5, 6, 7, 8])
    (folder / "vectors.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(20)))
    assert fuseid("ingest", "--db", "other", "--vectors", "vectors.npy")[0] == 0
    assert fuseid("fit", "--db", "other")[0] == 0
    (name,) = [path.name for path in (folder / "other" / "artifacts").glob("rq-kmeans-*")]
    shutil.copytree(folder / "other" / "artifacts" / name, folder / "db" / "artifacts" / name)
    for command in (["assign", "--tokenizer", name], ["promote", name]):
        line = refused(*command, "--db", "db")
        assert line.count("fusion-") == 2


@pytest.mark.parametrize(
    "command",
    [
        ["lookup", "--text", "a"],
        ["fit"],
        ["assign"],
        ["promote", "x"],
        ["explain", "a"],
        ["export", "ids", "--out", "o"],
    ],
    ids=lambda command: command[0],
)
def test_no_database_and_an_empty_one(refused, tmp_path, command):
    assert "no database at nowhere; `fuseid ingest --db nowhere" in refused(*command, "--db", "nowhere")
    assert not (tmp_path / "nowhere").exists()
    from fuseid.pipelines.store import Store

    Store.create(tmp_path / "db")
    line = refused(*command, "--db", "db")
    assert "db" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "exactly one of"),
        (["--sid", "1", "--id", "v01"], "like, sid"),
        (["--sid", "x'; DROP TABLE contents"], "not an ID or ID prefix"),
        (["--id", "nobody"], "no item 'nobody'"),
        (["--sid", "1", "--where", "nonsense ="], "--where"),
        (["--sid", "1", "-k", "0"], "k must be at least 1"),
        (["--text", "a"], "no CLIP vectors"),
    ],
)
def test_a_look_up_that_cannot_be_answered(refused, folder, arguments, said):
    assert said in refused("lookup", "--db", "db", *arguments)


def test_an_unknown_item_and_tokenizer(refused, folder):
    assert "no item 'nobody'" in refused("explain", "nobody", "--db", "db")
    assert "rq-kmeans-00" in refused("promote", "rq-kmeans-00", "--db", "db")


def test_export_into_a_folder_that_is_not_empty(refused, folder):
    assert "not an empty folder" in refused("export", "ids", "--db", "db", "--out", ".")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ids", "--out", "ids", "--since", "yesterday"], "no export tagged 'yesterday'; there is none"),
        (["ids", "--out", "ids", "--tokenizer", "rq-kmeans-00"], "holds no rq-kmeans-00"),
        (["ids", "--out", "ids", "--manifest", "fuseid.yaml"], "cannot read the manifest fuseid.yaml"),
        (["tags", "--remove", "yesterday"], "no export tagged 'yesterday'"),
    ],
)
def test_an_export_that_cannot_be_made(refused, folder, arguments, said):
    before = sorted(folder.iterdir())
    assert said in refused("export", *arguments, "--db", "db")
    assert sorted(folder.iterdir()) == before


def test_exports_are_listed_by_their_tags_until_these_are_removed(fuseid, folder):
    status, out, _ = fuseid("export", "ids", "--db", "db", "--out", "ids", "--format", "grid", "--json")
    tag = json.loads(out)["tag"]
    status, out, err = fuseid("export", "tags", "--db", "db")
    assert (status, err) == (0, "")
    assert tag in out
    status, out, err = fuseid("export", "tags", "--db", "db", "--remove", tag, "--json")
    assert (status, json.loads(out)) == (0, {"tags": []})


def test_a_database_that_another_run_writes_to_is_status_3(refused, folder):
    from fuseid.pipelines.lease import Lease
    from fuseid.pipelines.store import Store

    with Lease(Store.open(folder / "db"), 30):
        assert "another run is writing" in refused("fit", "--db", "db", status=3)
        assert "another run is writing" in refused("ingest", "--db", "db", "--vectors", "vectors.npy", status=3)


def test_a_run_in_which_too_much_fails_is_status_4(refused, fuseid, tmp_path):
    (tmp_path / "fuseid.yaml").write_text(CONFIG.replace("batch_size: 8", "model: 'fake:8'"))
    path = manifest(tmp_path, *({"content_id": f"t{i}", "caption": "words" if i % 2 else None} for i in range(8)))
    command = ["ingest", path, "--db", "db", "--runner", "local", "--max-rejected"]
    line = refused(*command, "5%", status=4)
    assert "4 of 8 items failed" in line
    assert "EmptyItem (4)" in line
    assert "5 percent" in refused(*command, "5 percent")
    status, out, _ = fuseid("rejected", "--db", "db", "--json")
    assert (status, json.loads(out)["classes"]) == (0, [{"error_class": "EmptyItem", "stage": "decode", "items": 4}])
    status, out, _ = fuseid("rejected", "--db", "db", "--class", "EmptyItem", "--limit", "2")
    assert status == 0
    assert "4 rejected" in out
    assert out.count("neither media nor caption") == 2
    assert fuseid("retry", "--db", "db", "--max-attempts", "1", "--json")[0] == 0


def test_pruning_is_asked_for_and_a_large_share_allowed(refused, fuseid, folder):
    np.save(folder / "vectors.npy", np.load(folder / "vectors.npy")[:30])
    (folder / "vectors.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(30)))
    command = ["ingest", "--db", "db", "--vectors", "vectors.npy", "--prune"]
    assert "10 of the 40 items" in refused(*command)
    status, out, _ = fuseid(*command, "--max-prune", "10", "--json")
    assert (status, json.loads(out)["counts"]["pruned"]) == (0, 10)


def test_the_log_tells_each_rejected_item_with_run_and_id(fuseid, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FUSEID_LOG", "info")
    (tmp_path / "fuseid.yaml").write_text(CONFIG.replace("batch_size: 8", "model: 'fake:8'"))
    path = manifest(tmp_path, {"content_id": "c", "caption": "words"}, {"content_id": "a\nb"})
    status, out, _ = fuseid("ingest", path, "--db", "db", "--runner", "local", "--json")
    run_id = json.loads(out)["run_id"]
    assert status == 0
    (line,) = [record.getMessage() for record in caplog.records if "rejected " in record.getMessage()]
    assert line.startswith(f"run {run_id}: rejected 'a\\nb' at decode, attempt 1: EmptyItem: ")
    assert "\n" not in line
    logging.getLogger("fuseid").setLevel(logging.NOTSET)


# What works


def test_ready_made_vectors_from_ingest_to_export_in_json(fuseid, folder):
    def told(*arguments: object) -> object:
        status, out, err = fuseid(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

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


def test_the_same_for_people(fuseid, folder):
    for arguments, shown in [
        (["lookup", "--db", "db", "--id", "v03"], "content_id"),
        (["explain", "v03", "--db", "db"], "who shares each prefix"),
        (["fit", "--db", "db"], "assigned"),
        (["export", "ids", "--db", "db", "--out", "ids"], "exported to ids"),
    ]:
        status, out, err = fuseid(*arguments)
        assert (status, err) == (0, "")
        assert shown in out


def test_rejected_items_are_no_failure_and_words_from_outside_are_shown_as_they_are(fuseid, tmp_path):
    (tmp_path / "fuseid.yaml").write_text(CONFIG)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    rows = [{"content_id": f"t{i}", "caption": f"[bold]number[/] {i} \x1b[31m"} for i in range(5)]
    path = manifest(tmp_path, {"content_id": "a", "uri": "red.png"}, {"content_id": "bad", "uri": "no.png"}, *rows)
    status, out, err = fuseid("ingest", path, "--db", "db", "--runner", "local", "--json")
    assert (status, err) == (0, "")
    run = json.loads(out)
    assert run["counts"] | {"committed": 6, "rejected": 1} == run["counts"]
    assert run["rejected"] == {"MissingFile": 1}
    items = {row["stage"]: row["items"] for row in run["stages"]}
    assert items | {"decode": 7, "encode": 6, "commit": 7, "total": 7} == items
    assert run["device_seconds_per_thousand_items"] > 0
    status, out, err = fuseid("lookup", "--db", "db", "--text", "number 3")
    assert (status, err) == (0, "")
    assert "[bold]number[/]" in out
    assert "\x1b" not in out
    status, out, _ = fuseid("explain", "bad", "--db", "db")
    assert status == 0
    assert "MissingFile" in out


def test_the_database_may_be_named_by_the_environment(fuseid, folder, monkeypatch):
    monkeypatch.setenv("FUSEID_DB", str(folder / "db"))
    assert fuseid("explain", "v03")[0] == 0


# As a process


def in_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("fuseid")), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_a_command_that_is_told_to_stop_keeps_what_is_finished(tmp_path):
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
    from fuseid.pipelines.store import Store

    store = Store.open(tmp_path / "db")
    (run,) = store.dataset("runs").to_table().to_pylist()
    done = store.table("contents").count_rows()
    assert run["outcome"] == "stopped"
    assert 0 < done < 100_000
    assert json.loads(run["counts"])["committed"] == done
    assert f"{done} items" in err


def test_the_installed_command_gives_status_and_one_line(made):
    done = in_process("lookup", "--db", "db", "--sid", "0", "--json", cwd=made)
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["sid"].split("-")[0] for row in json.loads(done.stdout)} == {"0"}
    failed = in_process("explain", "nobody", "--db", "db", cwd=made)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "error: no item 'nobody' in db\n"
    wrong = in_process("lookup", "--nope", cwd=made)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["lookup", "--db", "db", "--sid", "0"], ["explain", "v03", "--db", "db"]], ids=str
)
def test_what_needs_no_model_imports_neither_torch_nor_ray(made, arguments):
    code = (
        "import sys\n"
        "from fuseid.apps.cli import main\n"
        f"sys.argv = ['fuseid', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('HEAVY', sorted({'torch', 'ray', 'open_clip', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=made, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"
