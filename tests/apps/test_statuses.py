"""The exit status of every command: 2 for what was typed, configured or listed wrongly, 1 for what may work later."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fuseid.api import open_tokenizer
from fuseid.core.config import load_config
from fuseid.pipelines.backup import backup
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sequences.export import export_sequences
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store

SURFACE = json.loads((Path(__file__).parents[1] / "data" / "cli_surface.json").read_text(encoding="utf-8"))
SEQUENCES = "export sequences --db db --runner local --out new --interactions"
# All run in the folder that `world` makes, in which nothing has a name that begins with `nowhere` or `new`.
WRONG = [
    "--nope",
    "ingest --db new",
    "ingest nowhere --db new",
    "ingest nowhere.parquet --db new --runner local",
    "ingest list.jsonl --db new --runner local",
    "ingest s3://bucket/list.parquet --db new --runner local",
    "ingest list.jsonl --db new --runner dask",
    "ingest captions.jsonl --db new --runner local --clip builtin:none",
    "ingest list.jsonl --db new --config nowhere.yaml",
    "ingest list.jsonl --db new --config list.jsonl",
    "plan --db new",
    "plan nowhere.parquet --db new",
    "plan captions.jsonl --db fuseid.yaml",
    "plan --vectors vectors.npy --name audio --db db --prune",
    "ingest list.jsonl --db new --max-prune many",
    "ingest --vectors nowhere.npy --db new",
    "ingest --vectors vectors.npy --as select --db new",
    "ingest --vectors vectors.npy --db fuseid.yaml",
    "config check nowhere.yaml",
    "config check list.jsonl",
    "remove --db db --from nowhere.txt",
    "remove --db nowhere --from removed.txt",
    "fit --db nowhere",
    "fit --db db --runner dask",
    "fit --db db --codebooks many",
    "fit --db db --codebooks 0,4",
    "fit --db db --align-to rq-kmeans-0",
    "fit --db db --cold --align-to rq-kmeans-0",
    "fit --db db --generation 2",
    "fit --db db --refit-fusion --generation 1",
    "fit --db db --pairs nowhere.parquet",
    "fit --db db --pairs list.jsonl",
    "fit --db db --pairs vectors.npy --generation 1",
    "fit --db db --keep rq-kmeans",
    "fit --db db --compare rq-kmeans --keep fsq",
    "fit --db db --compare nothing",
    "fit --db db --compare rq-kmeans:beam=many",
    "drop --db nowhere --generation 1",
    "drop --db db --generation 2",
    "rollback --db nowhere",
    "adopt --db db --ids nowhere.csv",
    "adopt --db db --ids list.jsonl",
    "assign --db nowhere",
    "assign --db db --tokenizer rq-kmeans-0",
    "gate --db nowhere --tokenizer rq-kmeans-0000000000000000 --config gate.yaml",
    "gate --db db --tokenizer rq-kmeans-0000000000000000 --config gate.yaml",
    "gate --db db --tokenizer rq-kmeans-0000000000000000",
    "gate --db db --tokenizer rq-kmeans-0000000000000000 --config misspelt.yaml",
    "promote --db db rq-means",
    "promote --db db rq-kmeans-0000000000000000",
    "retry --db nowhere",
    "retry --db db --class Corupt",
    "rejected --db db --class Corupt",
    "lookup --db db --where \"kind = 'image' adn caption IS NULL\"",
    "export trie --db db --out trie --where \"kind = 'image')\"",
    "lookup --db db --sid 0 --where \"kind = 'vidoe'\"",
    "retry --db db --max-attempts 0",
    "rejected --db nowhere",
    "runs --db nowhere",
    "runs --db db --job ingset",
    "tokenizers --db nowhere",
    "rejected --db db --limit -1",
    "lookup --db db",
    "lookup --db nowhere --sid 0",
    "lookup --db db --sid a-b",
    "lookup --db db --sid 0 --where nonsense",
    "lookup --db db --sid 0 --after nonsense",
    "lookup --db db --like v01 --after nonsense",
    "lookup --db db --children --like v01",
    "lookup --db db --children --sid 0.1",
    "lookup --db db --children -k 0",
    "lookup --db db --sid 0 --at 99",
    "lookup --db db --sid 0 --at 2001-09-09",
    "lookup --db db --sid 0 --at yesterday",
    "lookup --db db --kind vidoe",
    "lookup --db db --attr style=noto",
    "lookup --db db --attr views>=",
    "lookup --db db --attr =3",
    "lookup --db db --attr ''",
    "lookup --db db --tag ''",
    "lookup --db db --has captoin",
    "lookup --db db --since yesterday",
    "lookup --db db --until listed=2026-02-30",
    "lookup --db db --facet knd",
    "lookup --db db --facet attr:style",
    "lookup --db db --facet kind -k 0",
    "lookup --db db --facet kind --like v01",
    "lookup --db db --facet kind --diverse 2",
    "lookup --db db --facet kind --weight like=2",
    "lookup --db db --facet kind --after x",
    "lookup --db db --facet sid --children",
    "lookup --db db --children --space fused",
    "lookup --db db --children --timeout 5",
    "explain --db nowhere v01",
    "report --db nowhere",
    "report --db db --by nope",
    "report --db db --pairs nowhere.parquet",
    "report --db db --pairs list.jsonl",
    "report --db db --tokenizer rq-kmeans-0",
    "evaluate --db db --sequences nowhere",
    "evaluate --db db --sequences nowhere --setting huge",
    "evaluate --db db --sequences sequences --against randm",
    "evaluate --db db --sequences sequences --warm-start rq-kmeans-0",
    "evaluate --db db --sequences sequences --warm-start rq-kmeans-0 --ids ids.csv",
    "evaluate --db db --sequences sequences --ids nowhere.parquet",
    "evaluate --db db --sequences sequences --cold-share 2",
    "evaluate --db db --sequences sequences --ids random.csv",
    "maintain --db nowhere",
    "check --db nowhere",
    "backup --db nowhere --to copy",
    "backup --db db --to db",
    "restore --from nowhere --db new",
    "restore --from . --db new",
    "upgrade --db nowhere",
    "demo --out bare",
    "demo --runner dask",
    "lookup --db db --from nowhere --out new.parquet",
    "lookup --db db --from fuseid.yaml",
    "lookup --db db --out new.parquet",
    "lookup --db db --from fuseid.yaml --out new.parquet --text words",
    "lookup --db db --from fuseid.yaml --out new.csv",
    "neighbours --db nowhere --out new --runner local",
    "neighbours --db db --out new --runner local --space fusd",
    "neighbours --db db --out new --runner local -k 0",
    "neighbours --db db --out new --runner local --recall 95",
    "neighbours --db db --out db --runner local",
    "pairs --interactions nowhere.csv --out new.parquet --method window",
    "pairs --interactions events.csv --out new.parquet --method swng",
    "pairs --interactions events.csv --out new.parquet --method swing --window 3",
    "pairs --interactions events.csv --out new.parquet --method window --until soon",
    "pairs --interactions events.csv --out new.parquet --method window --until 2001-09-09T00:00Z",
    "pairs --interactions events.csv --out new.parquet --method window --db nowhere",
    "pairs --interactions events.csv --out events.csv --method window",
    "export ids --db db --out new --format parqet",
    "export trie --db db --out new --where \"kind = 'vidoe'\"",
    "export ids --db db --out db",
    "export ids --db db --out fuseid.yaml/new",
    "export ids --db db --out new --since yesterday",
    "export ids --db db --out new --with rq-kmeans-0",
    f"{SEQUENCES} nowhere.csv",
    f"{SEQUENCES} events.csv --split random",
    "export tags --db db --remove yesterday",
    "export trie --db nowhere --out new",
    "export trie --db db --out new --tokenizer rq-kmeans-0",
    "export vocabulary --db db --out fuseid.yaml",
    "export vocabulary --db db --out new --style tiger",
    "export vocabulary --db db --out new --with rq-kmeans-0",
]  # fmt: skip
LATER = [
    "ingest list.jsonl --db new --runner local --require-success",
    "ingest --vectors vectors.npy --db new --expect-rows 41",
    "ingest --vectors vectors.npy --db damaged",
    "ingest --vectors few.npy --db db --prune",
    "plan --vectors few.npy --db db --prune",
    "plan --vectors vectors.npy --db damaged",
    "remove --db damaged --from removed.txt",
    "fit --db empty",
    "fit --db db --codebooks 4096",
    "fit --db db --refit-fusion",
    "drop --db db --generation 1",
    "rollback --db db",
    "adopt --db empty --ids ids/ids.parquet",
    "assign --db bare",
    "gate --db damaged --tokenizer rq-kmeans-0000000000000000 --config gate.yaml",
    "promote --db empty rq-kmeans-0000000000000000",
    "retry --db damaged",
    "rejected --db damaged",
    "runs --db damaged",
    "tokenizers --db damaged",
    "lookup --db empty --sid 0",
    "lookup --db bare --sid 0",
    "lookup --db bare --children",
    "lookup --db bare --facet sid",
    "lookup --db empty --kind video",
    "lookup --db db --id nobody",
    "lookup --db db --text words",
    "neighbours --db empty --out new --runner local",
    "pairs --interactions events.csv --out new.parquet --method window --db empty",
    "explain --db db nobody",
    "report --db bare",
    "report --db lost",
    "evaluate --db damaged --sequences sequences",
    "maintain --db empty",
    "check --db damaged",
    "backup --db damaged --to copy",
    "restore --from broken --db new",
    "upgrade --db damaged",
    "export ids --db bare --out new",
    "export sequences --db bare --runner local --out new --interactions events.csv",
    "export tags --db damaged",
    "export trie --db db --out new --where false",
    "export vocabulary --db bare --out new",
]
# `check` reports damage and ends with 1; `demo` reads nothing that may be missing.
WITHOUT_LATER = {"", "demo", "export", "config", "config check", "config schema"}


@pytest.fixture(scope="module")
def world(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database `db`, which has IDs; `bare`, which has items and no IDs; `empty`, without items;
    `damaged`, whose tables cannot be read; `lost`, without its tokenizer; a backup that was altered."""
    folder = tmp_path_factory.mktemp("statuses") / "world"
    shutil.copytree(made, folder)
    db, events = str(folder / "db"), folder / "events.csv"
    rows = [f"u{n % 2},v{3 * n:02d},{1714564800 + 60 * n}" for n in range(12)]
    events.write_text("\n".join(["user_id,content_id,timestamp", *rows]))
    export_ids(db, folder / "ids")
    export_sequences(db, events, folder / "sequences")
    backup(db, str(folder / "broken"))
    for name in ("damaged", "lost"):
        shutil.copytree(db, folder / name)
    for newest in {path.parent: path for path in sorted(folder.glob("damaged/*/_versions/*.manifest"))}.values():
        newest.write_bytes(bytes(newest.stat().st_size))
    shutil.rmtree(folder / "lost" / "artifacts")
    altered = next(folder.glob("broken/contents.lance/data/*"))
    altered.write_bytes(altered.read_bytes()[::-1])
    vectors = np.load(folder / "vectors.npy")
    np.save(folder / "few.npy", vectors[:5])
    (folder / "few.ids.txt").write_text("".join(f"v{i:02d}\n" for i in range(5)))
    Store.create(folder / "empty")
    config = load_config(folder / "fuseid.yaml").model_copy(update={"clip": None})
    ingest(str(folder / "bare"), Vectors(folder / "vectors.npy"), config, LocalRunner())
    (folder / "list.jsonl").write_text("{no json\n")
    (folder / "captions.jsonl").write_text('{"content_id": "a", "caption": "words"}\n')
    (folder / "removed.txt").write_text("v01\n")
    (folder / "gate.yaml").write_text("gate: {limits: {collision_b: {at_most: 0}}}\n")
    (folder / "misspelt.yaml").write_text("gate:\n  limits:\n    collision_c: {at_most: 0}\n")
    return folder


@pytest.fixture
def ends(fuseid: Callable[..., tuple[int, str, str]], world: Path, monkeypatch) -> Callable[[str], tuple[int, str]]:
    """Runs a command that must leave the folder as it is; -> its status and its line on standard error."""

    def run(command: str) -> tuple[int, str]:
        monkeypatch.chdir(world)
        before = sorted(world.iterdir())
        status, _, err = fuseid(*shlex.split(command))
        assert sorted(world.iterdir()) == before
        return status, err

    return run


@pytest.mark.parametrize(("status", "commands"), [(2, WRONG), (1, LATER)], ids=["wrong", "later"])
def test_every_command_ends_with_its_status_and_one_line(ends, status, commands):
    found = {command: ends(command) for command in commands}
    assert {command: code for command, (code, _) in found.items()} == dict.fromkeys(commands, status)
    lines = {command: err for command, (_, err) in found.items() if command != "check --db damaged"}
    unclear = {
        command: err
        for command, err in lines.items()
        if not err.startswith("error: ") or err.count("\n") != 1 or "FUSEID_DEBUG" in err or "Traceback" in err
    }
    assert unclear == {}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("rejected --db db --class Corupt", "did you mean CorruptMedia?"),
        ("retry --db db --class decodetimeout", "did you mean DecodeTimeout?"),
        ("lookup --db db --sid 0 --where \"kind = 'vidoe'\"", "did you mean video?"),
        ("lookup --db db --kind vidoe", "did you mean video?"),
        ("lookup --db db --has captoin", "did you mean caption or"),
        ("lookup --db db --facet knd", "did you mean kind?"),
        ("export ids --db db --out new --format parqet", "did you mean parquet?"),
        ("pairs --interactions events.csv --out new.parquet --method cooccurence", "did you mean cooccurrence?"),
        ("export vocabulary --db db --out new --style minionrec", "did you mean minionerec or"),
        ("ingest captions.jsonl --db new --runner rya", "did you mean ray?"),
        (f"{SEQUENCES} events.csv --split bytime", "did you mean by-time?"),
        (f"{SEQUENCES} events.csv --time-zone Europe/Berln", "did you mean Europe/Berlin"),
        (f"{SEQUENCES} events.csv --keep wieght", "has no column 'wieght' to keep; there are user_id, content_id"),
        ("evaluate --db db --sequences sequences --setting smal", "did you mean small?"),
        ("ingest captions.jsonl --db new --runner local --clip builtin:mini-clp", "did you mean builtin:mini-clip or"),
        ("gate --db db --tokenizer rq --config misspelt.yaml", "misspelt.yaml, line 3: gate.limits.collision_c is"),
        ("gate --db db --tokenizer rq --config misspelt.yaml", "did you mean collision_b or"),
        ("report --db db --tokenizer rq-means-{digits}", "did you mean rq-kmeans-"),
        ("export tags --db db --remove {versions}-rq", "is too little of {versions}-rq-kmeans-"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(ends, world, command, said):
    manifest = json.loads((world / "ids" / "manifest.json").read_text())
    of = {"digits": manifest["tokenizer_id"][-16:], "versions": manifest["tag"].partition("-rq-")[0]}
    status, line = ends(command.format(**of))
    assert (status, said.format(**of) in line) == (2, True), line


def test_an_id_may_be_given_by_its_beginning(as_text, as_json, folder):
    (whole,) = Store.open(folder / "db").tokenizers()
    begun = whole[:-8]
    assert as_json("report", "--db", "db", "--tokenizer", begun)["tokenizers"][0]["id"] == whole
    assert whole in as_text("promote", begun, "--db", "db")
    assert whole in as_text("assign", "--db", "db", "--tokenizer", begun)
    made = as_json("export", "ids", "--db", "db", "--out", "ids", "--tokenizer", begun)
    assert made["tokenizer_id"] == whole
    assert as_json("export", "ids", "--db", "db", "--out", "since", "--since", made["tag"][:-8])["since"]
    assert open_tokenizer(folder / "db", begun).id == whole
    assert as_json("export", "tags", "--db", "db", "--remove", made["tag"][:-8]) == {"tags": []}


def test_no_command_is_left_out():
    def named(commands: list[str]) -> set[str]:
        words = [shlex.split(command) for command in commands]
        return {" ".join(each[: 1 + (each[0] in ("export", "config"))]) for each in words}

    assert SURFACE.keys() - {"", "export", "config", "config schema"} <= named(WRONG)
    assert SURFACE.keys() - WITHOUT_LATER <= named(LATER)
