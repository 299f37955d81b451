"""The command line: its frozen options, its exit statuses, and one line for each error."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.pipelines.store.store import Store

DATA = Path(__file__).parents[1] / "data"
SURFACE = json.loads((DATA / "cli_surface.json").read_text(encoding="utf-8"))


# What is frozen


def test_commands_and_options_are_those_of_the_golden():
    found = runpy.run_path(str(DATA / "make_goldens.py"))["cli_surface"]()
    assert found == SURFACE, "the command line changed; if that is meant, run tests/data/make_goldens.py"


@pytest.mark.parametrize("command", SURFACE)
def test_every_command_has_help_that_names_its_options(fuseid, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, err = fuseid(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert "Usage: fuseid" in out
    for parameter in SURFACE[command].values():
        flags = parameter["flags"]
        assert flags == "argument" or all(flag in out for flag in flags)


def test_the_version_is_that_of_the_package(fuseid):
    assert fuseid("--version") == (0, f"fuseid {version('fuseid')}\n", "")


def test_every_database_command_takes_db_and_json():
    commands = SURFACE.keys() - {"", "export", "demo"} - {name for name in SURFACE if name.startswith("config")}
    assert all({"db", "json"} <= SURFACE[name].keys() for name in commands)


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


def test_a_missing_manifest_is_refused_in_one_line(refused):
    assert "no such manifest or folder: nowhere.csv" in refused("ingest", "nowhere.csv", "--db", "db")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--sizes", "x"], "--sizes takes sizes like 256,256,256, got 'x'"),
        (["--item-map", "map.csv"], "--item-map map.csv belongs to IDs"),
        (["--space", "external"], "give both"),
        (["--codebooks", "nothing.npz"], "cannot read codebooks from nothing.npz"),
        ([], "row 2: 'x' is no semantic ID"),
    ],
)
def test_ids_that_cannot_be_adopted_are_refused_in_one_line(refused, folder, more, said):
    (folder / "ids.csv").write_text("content_id,sid\nv00,1-2\nv01,x\n")
    assert said in refused("adopt", "--db", "db", "--ids", "ids.csv", *more)


def test_an_empty_manifest_is_refused_in_one_line(refused, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert "lists no items" in refused("ingest", "empty.jsonl", "--db", "db", "--runner", "local")
    assert not (tmp_path / "db").exists()


def test_a_missing_column_is_refused_in_one_line(refused, tmp_path):
    (tmp_path / "m.csv").write_text("content_id,url\na,b\n")
    line = refused("ingest", "m.csv", "--db", "db", "--runner", "local")
    assert "m.csv has no column uri or caption; it has content_id, url" in line


def test_a_repeated_content_id_is_refused_in_one_line(refused, tmp_path, manifest):
    manifest(tmp_path, {"content_id": "a'b", "caption": "x"}, {"content_id": "a'b", "caption": "y"})
    assert "a'b" in refused("ingest", "manifest.jsonl", "--db", "db", "--runner", "local")


@pytest.mark.parametrize("model", ["builtin:nope", "ViT-B-99/openai", "local-dir:nowhere", "ftp:x"])
def test_an_unknown_model_is_refused_in_one_line(refused, tmp_path, model, manifest):
    manifest(tmp_path, {"content_id": "a", "caption": "x"})
    assert model.split(":")[-1].split("/")[0] in refused(
        "ingest", "manifest.jsonl", "--db", "db", "--runner", "local", "--clip", model
    )
    assert not (tmp_path / "db").exists()


def test_an_unknown_config_key_is_refused_in_one_line(refused, tmp_path):
    (tmp_path / "fuseid.yaml").write_text("run: {wave_row: 5}\n")
    line = refused("fit", "--db", "db")
    assert "run.wave_row" in line
    assert "wave_rows" in line


def test_a_missing_config_is_refused_in_one_line(refused):
    assert "nowhere.yaml" in refused("fit", "--db", "db", "--config", "nowhere.yaml")


@pytest.mark.parametrize("source", [[], ["manifest.jsonl", "--vectors", "vectors.npy"]])
def test_ingest_takes_exactly_one_source(refused, source):
    assert "name one source" in refused("ingest", "--db", "db", *source, status=2)


def test_unknown_runners_formats_and_codebooks_are_refused(refused, folder):
    assert "'slurm'" in refused("ingest", "m.csv", "--db", "db", "--runner", "slurm")
    assert "'csv'" in refused("export", "ids", "--db", "db", "--out", "ids", "--format", "csv")
    assert "'a,b'" in refused("fit", "--db", "db", "--codebooks", "a,b")
    assert "--codebooks is [0]; it takes" in refused("fit", "--db", "db", "--codebooks", "0")
    assert "it takes a list of at least one" in refused("fit", "--db", "db", "--codebooks", "4,-1")


def test_vectors_of_another_size_are_refused(refused, folder):
    np.save(folder / "other.npy", np.ones((1, 7), np.float32))
    (folder / "other.ids.txt").write_text("x\n")
    assert "external vectors of 7 numbers" in refused("ingest", "--db", "db", "--vectors", "other.npy")


def test_a_tokenizer_of_another_fusion_is_refused(refused, folder, as_text):
    np.save(folder / "vectors.npy", -np.load(folder / "vectors.npy")[:20] * [1, 2, 3, 4, 5, 6, 7, 8])
    (folder / "vectors.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(20)))
    as_text("ingest", "--db", "other", "--vectors", "vectors.npy")
    as_text("fit", "--db", "other")
    (name,) = [path.name for path in (folder / "other" / "artifacts").glob("rq-kmeans-*")]
    shutil.copytree(folder / "other" / "artifacts" / name, folder / "db" / "artifacts" / name)
    for command in (["assign", "--tokenizer", name], ["promote", name]):
        line = refused(*command, "--db", "db")
        assert line.count("fusion-") == 2


EMPTY = "the database db is empty; `fuseid ingest --db db SOURCE` fills it"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["lookup", "--text", "a"], EMPTY),
        (["fit"], EMPTY),
        (["assign"], EMPTY),
        (["promote", "x"], EMPTY),
        (["explain", "a"], "no item 'a' in db"),
        (["export", "ids", "--out", "o"], EMPTY),
    ],
)
def test_missing_and_empty_databases_are_reported(refused, tmp_path, command, said):
    assert "no database at nowhere; `fuseid ingest --db nowhere" in refused(*command, "--db", "nowhere")
    assert not (tmp_path / "nowhere").exists()
    from fuseid.pipelines.store.store import Store

    Store.create(tmp_path / "db")
    assert refused(*command, "--db", "db", status=1) == f"error: {said}\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "at least one of --text, --image, --video, --like, --sid"),
        (["--not-like", "v01"], 2, "got --not-like alone"),
        (["--sid", "1", "--id", "v01"], 2, "leave out --like"),
        (
            ["--id", "v01", "--weight", "like=much"],
            2,
            "the weight of like must be a number of at least 0, and 1e-06 to 1e+06 if it is not 0, got 'much'",
        ),
        (["--id", "v01", "--weight", "like"], 2, "--weight takes NAME=NUMBER, such as like=0.5; got 'like'"),
        (["--id", "v01", "--weight", "text=1"], 2, "a weight for text, which the query does not have; give --text too"),
        (["--id", "v01", "--weight", "not-lik=1"], 2, "did you mean not-like"),
        (["--id", "v01", "--weight", "like=0"], 2, "give one of them more by --weight"),
        (["--id", "v01", "--weight", "like=1", "--weight", "like=2"], 2, "gives like two weights, 1 and 2"),
        (["--id", "v01", "--space", "fusd"], 2, "did you mean fused?"),
        (["--id", "v01", "--space", "clip"], 1, "has no vectors of clip; its spaces are fused, external"),
        (["--text", "a", "--space", "external"], 2, "--text is compared in CLIP space, not in external"),
        (["--id", "v01", "--diverse", "0"], 2, "got '0'"),
        (["--sid", "x'; DROP TABLE contents"], 2, "not an ID or ID prefix"),
        (["--id", "nobody"], 1, "no item 'nobody'"),
        (["--sid", "1", "--where", "nonsense ="], 2, "--where"),
        (["--sid", "1", "-k", "0"], 2, "k must be at least 1"),
        (["--text", "a"], 1, "no CLIP vectors"),
    ],
)
def test_an_invalid_look_up_is_refused(refused, folder, arguments, status, said):
    assert said in refused("lookup", "--db", "db", *arguments, status=status)


def test_unknown_items_and_tokenizers_are_refused(refused, folder):
    assert "no item 'nobody'" in refused("explain", "nobody", "--db", "db", status=1)
    assert "rq-kmeans-00" in refused("promote", "rq-kmeans-00", "--db", "db")


def test_a_database_that_another_run_writes_to_is_status_3(refused, folder):
    from fuseid.pipelines.jobs.lease import Lease
    from fuseid.pipelines.store.store import Store

    with Lease(Store.open(folder / "db"), 30):
        assert "another run is writing" in refused("fit", "--db", "db", status=3)
        assert "another run is writing" in refused("ingest", "--db", "db", "--vectors", "vectors.npy", status=3)


def test_a_run_in_which_too_much_fails_is_status_4(refused, as_text, as_json, settings, tmp_path, manifest):
    (tmp_path / "fuseid.yaml").write_text(settings(clip={"model": "fake:8"}))
    path = manifest(tmp_path, *({"content_id": f"t{i}", "caption": "words" if i % 2 else None} for i in range(8)))
    command = ["ingest", path, "--db", "db", "--runner", "local", "--max-rejected"]
    line = refused(*command, "5%", status=4)
    assert "4 of 8 items failed" in line
    assert "EmptyItem (4), such as" in line
    assert "5 percent" in refused(*command, "5 percent")
    found = as_json("rejected", "--db", "db")
    assert found["classes"] == [{"error_class": "EmptyItem", "stage": "decode", "items": 4}]
    out = as_text("rejected", "--db", "db", "--class", "EmptyItem", "--limit", "2")
    assert "4 rejected" in out
    assert out.count("neither media nor caption") == 2
    assert as_json("retry", "--db", "db", "--max-attempts", "1")["job"] == "retry"


def test_a_run_in_which_everything_fails_is_status_4_unless_allowed(refused, as_json, settings, tmp_path, manifest):
    (tmp_path / "fuseid.yaml").write_text(settings(clip={"model": "fake:8"}))
    path = manifest(tmp_path, *({"content_id": f"t{i}", "uri": "/etc/hostname"} for i in range(8)))
    command = ["ingest", path, "--db", "db", "--runner", "local"]
    line = refused(*command, status=4)
    assert "NotAllowed (8), such as 't0': '/etc/hostname' leads outside the manifest's folder" in line
    assert "source.allow" in line
    assert as_json(*command, "--max-rejected", "100%")["counts"]["rejected_before"] == 8


def test_pruning_needs_an_option_and_a_large_share_a_limit(refused, as_json, folder):
    np.save(folder / "vectors.npy", np.load(folder / "vectors.npy")[:30])
    (folder / "vectors.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(30)))
    command = ["ingest", "--db", "db", "--vectors", "vectors.npy", "--prune"]
    assert "10 of the 40 items" in refused(*command, status=1)
    assert as_json(*command, "--max-prune", "10")["counts"]["pruned"] == 10


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, 130, "stopped by Ctrl-C"), (signal.SIGTERM, 143, "stopped by SIGTERM")],
)
def test_a_signal_ends_a_reading_command_with_one_line(refused, folder, monkeypatch, number, status, said):
    monkeypatch.setattr("fuseid.pipelines.rejected.rejected", lambda *options: signal.raise_signal(number))
    assert said in refused("rejected", "--db", "db", status=status)


def test_an_incomplete_source_is_refused_where_completeness_is_required(refused, as_json, settings, tmp_path, manifest):
    (tmp_path / "fuseid.yaml").write_text(settings(clip={"model": "fake:8"}))
    path = manifest(tmp_path, *({"content_id": f"t{i}", "caption": "words"} for i in range(3)))
    command = ["ingest", path, "--db", "db", "--runner", "local"]
    assert "lists 3 items, not the 4" in refused(*command, "--expect-rows", "4", status=1)
    assert "--expect-rows is 0; it takes" in refused(*command, "--expect-rows", "0")
    assert "holds no file _SUCCESS" in refused(*command, "--require-success", status=1)
    assert not (tmp_path / "db").exists()
    (tmp_path / "_SUCCESS").touch()
    assert as_json(*command, "--require-success", "--expect-rows", "3")["counts"]["committed"] == 3


def test_a_signal_that_a_library_reports_as_an_error_of_its_own_is_still_a_signal(refused, folder, monkeypatch):
    """As Lance does: ArrowInvalid, a ValueError."""

    def interrupted(text: str) -> str:
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        raise ValueError("External error: Interrupted: 143")

    monkeypatch.setattr("fuseid.pipelines.rejected.sql_string", interrupted)
    assert "stopped by SIGTERM" in refused("retry", "--db", "db", "--class", "MissingFile", status=143)
    runs = Store.open("db").dataset("runs").to_table().sort_by("started_at")
    assert runs["outcome"].to_pylist()[-1] == "stopped"


# As a process


def installed(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as it is installed, in an environment that sets nothing of it."""
    command = [str(Path(sys.executable).with_name("fuseid")), *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("FUSEID_")}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)


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


def test_what_needs_no_model_imports_neither_torch_nor_ray(folder, events):
    """All in one process, in which the first such import would show."""
    commands = [
        "--help",
        "lookup --db db --sid 0",
        "explain v03 --db db",
        "rejected --db db",
        "export ids --db db --out ids",
        "export sequences --db db --interactions events.csv --out sequences --runner local",
    ]
    code = (
        "import sys\n"
        "from fuseid.apps.cli import main\n"
        f"for command in {commands!r}:\n"
        "    sys.argv = ['fuseid', *command.split()]\n"
        "    try:\n        main()\n    except SystemExit as stop:\n        assert not stop.code\n"
        "    heavy = sorted({'torch', 'ray', 'open_clip', 'transformers'} & set(sys.modules))\n"
        "    assert not heavy, (command, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=True)


def test_vectors_are_taken_in_before_the_first_fit_without_torch(tmp_path):
    vectors = pa.array([[1.0, 2.0], [2.0, 1.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"content_id": ["a", "b"], "vector": vectors}), tmp_path / "vectors.parquet")
    code = (
        "import sys\n"
        "from fuseid.apps.cli import main\n"
        "sys.argv = ['fuseid', 'ingest', '--vectors', 'vectors.parquet', '--db', 'db']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)


# Conditions that take too long


@pytest.mark.parametrize(
    "command",
    [["lookup", "--id", "v00"], ["lookup", "--sid", "1"], ["export", "trie", "--out", "trie"]],
    ids=["item", "prefix", "trie"],
)
def test_a_condition_that_takes_too_long_ends_the_command_in_one_line(folder, command):
    condition = ["--where", "levenshtein(repeat('a', 200000), repeat('b', 200000)) = 1", "--timeout", "0.5"]
    started = subprocess.Popen(
        [sys.executable, "-m", "fuseid.apps.cli", *command, "--db", "db", *condition],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (1, "")
    assert err.startswith("error: the query was ended after 0.5 s (--timeout)")
    assert err.count("\n") == 1
    assert not (folder / "trie").exists()


def test_the_time_limit_of_conditions_is_set_in_the_configuration(folder):
    with (folder / "fuseid.yaml").open("a", encoding="utf-8") as file:
        file.write("lookup: {timeout_seconds: 0.5}\n")
    command = [
        "lookup",
        "--db",
        "db",
        "--id",
        "v00",
        "--where",
        "levenshtein(repeat('a', 200000), repeat('b', 200000)) = 1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "fuseid.apps.cli", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ended after 0.5 s" in done.stderr
