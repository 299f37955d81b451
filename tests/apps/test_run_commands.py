"""The commands that run jobs, and a look at what they made: as JSON, as text for people, and stopped by a signal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image


def test_ready_made_vectors_go_from_ingest_to_export_with_json_output(as_json, folder):
    run = as_json("ingest", "--db", "new", "--vectors", "vectors.npy")
    assert run["counts"]["committed"] == 40
    assert as_json("ingest", "--db", "new", "--vectors", "vectors.npy")["counts"]["unchanged"] == 40
    fitted = as_json("fit", "--db", "new", "--codebooks", "5,2")
    assert fitted["counts"]["assigned"] == 40
    assert as_json("assign", "--db", "new")["counts"]["assigned"] == 0
    found = as_json("lookup", "--db", "new", "--like", "v03", "-k", "4")
    assert found[0]["content_id"] in {f"v{i:02d}" for i in range(3, 40, 5)}
    assert len(found) == 4
    below = as_json("lookup", "--db", "new", "--sid", found[0]["sid"].split("-")[0], "-k", "100")
    assert found[0]["content_id"] in {row["content_id"] for row in below}
    assert as_json("explain", "v03", "--db", "new")["sid"] in {row["sid"] for row in below}
    exported = as_json("export", "ids", "--db", "new", "--out", "ids")
    assert exported["items"] == 40
    assert exported["codebook_sizes"] == [5, 2]
    assert pq.read_table(folder / "ids" / "ids-00000.parquet").num_rows == 40
    assert as_json("promote", exported["tokenizer_id"], "--db", "new")["job"] == "promote"


def test_ids_are_adopted_promoted_and_exported_again(as_json, as_text, folder):
    ids = "content_id,code_0,code_1,suffix\n" + "".join(f"v{i:02d},{i % 5},{i % 3},{i // 15}\n" for i in range(40))
    (folder / "ids.csv").write_text(ids)
    run = as_json("adopt", "--db", "db", "--ids", "ids.csv", "--sizes", "8,4", "--unique")
    assert run["counts"] == {"ids": 40, "in_catalogue": 40, "adopted": 40, "assigned": 0}
    assert run["notes"][-1].startswith("candidate adopted-")
    name = run["notes"][-1].split()[-1]
    document = as_json("report", "--db", "db", "--compare", name)
    assert document["tokenizers"][1]["id"] == name
    assert name in as_text("report", "--db", "db", "--tokenizer", name, "--page", "report.html")
    assert as_json("adopt", "--db", "db", "--ids", "ids.csv", "--sizes", "8,4", "--promote")["counts"]["adopted"] == 0
    manifest = as_json("export", "ids", "--db", "db", "--out", "ids")
    assert (manifest["tokenizer_id"], manifest["codebook_sizes"]) == (name, [8, 4])
    assert f"adopted before: champion {name}" in as_text("adopt", "--db", "db", "--ids", "ids")


def test_items_are_removed_by_a_list_and_by_a_manifest(as_json, as_text, refused, folder):
    (folder / "gone.csv").write_text("content_id\nv03\nv04\nnobody\n")
    run = as_json("remove", "--db", "db", "--ids", "gone.csv")
    assert run["job"] == "remove"
    assert run["counts"] == {"removed": 2, "removed_unknown": 1}
    assert "3 of the items to remove are not in the database" in as_text("remove", "--db", "db", "--ids", "gone.csv")
    (folder / "delta.csv").write_text("content_id,deleted\nv05,true\n")
    assert as_json("ingest", "delta.csv", "--db", "db", "--runner", "local")["counts"]["removed"] == 1
    for name, text, said in (
        ("gone.xlsx", "v06", "a list of ids is"),
        ("ids.csv", "id\nv06\n", "no column content_id"),
    ):
        (folder / name).write_text(text)
        assert said in refused("remove", "--db", "db", "--ids", name)
    assert "no such list of ids: none.txt" in refused("remove", "--db", "db", "--ids", "none.txt")
    assert "v06" in as_text("explain", "v06", "--db", "db")


def test_the_same_commands_print_text(as_text, folder):
    for arguments, said in [
        (["lookup", "--db", "db", "--like", "v03"], "content_id"),
        (["explain", "v03", "--db", "db"], "items that share each prefix"),
        (["fit", "--db", "db"], "assigned"),
        (["export", "ids", "--db", "db", "--out", "ids"], "exported to ids"),
    ]:
        assert said in as_text(*arguments)


def test_rejected_items_do_not_fail_a_run_and_markup_in_captions_is_not_interpreted(
    as_text, as_json, settings, tmp_path, manifest
):
    (tmp_path / "fuseid.yaml").write_text(settings())
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    rows = [{"content_id": f"t{i}", "caption": f"[bold]number[/] {i} \x1b[31m"} for i in range(5)]
    path = manifest(tmp_path, {"content_id": "a", "uri": "red.png"}, {"content_id": "bad", "uri": "no.png"}, *rows)
    run = as_json("ingest", path, "--db", "db", "--runner", "local")
    assert run["counts"] | {"committed": 6, "rejected": 1} == run["counts"]
    assert run["rejected"] == {"MissingFile": 1}
    items = {row["stage"]: row["items"] for row in run["stages"]}
    assert items | {"decode": 7, "encode": 6, "commit": 7, "total": 7} == items
    assert run["device_seconds_per_thousand_items"] is None  # no device
    cores = {row["stage"]: row["core_seconds_per_thousand_items"] for row in run["stages"]}
    assert cores["decode"] > 0
    assert cores["encode"] > 0
    out = as_text("lookup", "--db", "db", "--text", "number 3")
    assert "[bold]number[/]" in out
    assert "\x1b" not in out
    assert "MissingFile" in as_text("explain", "bad", "--db", "db")


def test_the_database_may_be_named_by_the_environment(as_text, folder, monkeypatch):
    monkeypatch.setenv("FUSEID_DB", str(folder / "db"))
    assert "v03" in as_text("explain", "v03")


def test_the_log_names_each_rejected_item_with_its_run(as_json, settings, tmp_path, monkeypatch, caplog, manifest):
    monkeypatch.setenv("FUSEID_LOG", "info")
    (tmp_path / "fuseid.yaml").write_text(settings(clip={"model": "fake:8"}))
    path = manifest(tmp_path, {"content_id": "c", "caption": "words"}, {"content_id": "a\nb"})
    run_id = as_json("ingest", path, "--db", "db", "--runner", "local")["run_id"]
    (line,) = [record.getMessage() for record in caplog.records if "rejected " in record.getMessage()]
    assert line.startswith(f"run {run_id}: rejected 'a\\nb' at decode, attempt 1: EmptyItem: ")
    assert "\n" not in line


def test_a_stopped_command_keeps_finished_items(tmp_path, manifest):
    """SIGTERM, as a scheduler sends it: status 143, one line, and a run that the next one completes."""
    (tmp_path / "fuseid.yaml").write_text("clip: {model: 'fake:8'}\nrun: {wave_rows: 50, block_rows: 10}\n")
    lines = [{"content_id": f"t{i}", "caption": f"number {i}"} for i in range(20_000)]
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
    assert 0 < done < 20_000
    assert json.loads(run["counts"])["committed"] == done
    assert f"{done} items" in err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--vectors", "vectors.npy", "--name", "audio", "--prune"], "--prune cannot go with --name"),
        (["--vectors", "vectors.npy", "--name", "external", "--prune"], "--prune cannot go with --name"),
        (["manifest.jsonl", "--name", "audio"], "--name names the vectors of --vectors"),
        (["--name", "audio"], "name one source"),
    ],
)
def test_a_name_goes_with_vectors_and_without_prune(refused, folder, options, named):
    assert named in refused("ingest", "--db", "new", *options, status=2)
    assert not (folder / "new").exists()


def test_a_name_that_vectors_cannot_have_changes_nothing(refused, folder):
    for name in ("Audio", "clip", "caption", "null"):
        assert f"{name!r} cannot name vectors" in refused(
            "ingest", "--db", "new", "--vectors", "vectors.npy", "--name", name
        )
    assert not (folder / "new").exists()


def test_a_named_run_tells_what_it_stored(as_json, as_text, folder):
    as_json("ingest", "--db", "new", "--vectors", "vectors.npy", "--name", "audio")
    as_json("fit", "--db", "new", "--codebooks", "4,4")
    text = as_text("ingest", "--db", "new", "--vectors", "vectors.npy", "--name", "likes")
    assert "likes is stored, not yet fused" in text
    assert as_json("ingest", "--db", "new", "--vectors", "vectors.npy", "--name", "likes")["counts"]["unchanged"] == 40
