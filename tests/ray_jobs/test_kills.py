"""After the kill of any process at any step, every item is stored once, with the ID of an undisturbed run."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from PIL import Image

from fuseid.core.config import Config
from fuseid.core.errors import StoreError
from fuseid.core.faults import STEPS
from fuseid.pipelines.backup import backup
from fuseid.pipelines.check import check
from fuseid.pipelines.explain import explain
from fuseid.pipelines.jobs.runs import exclusive_job
from fuseid.pipelines.restore import restore
from fuseid.pipelines.runs import runs
from fuseid.pipelines.store.store import Store

from ..encoders import tiny_vlms  # noqa: TID252  (the tests are no package)
from .exactly_once import SETTINGS, Before, Catalogue, Drivers, State, copied, violations, wait_for
from .three_nodes import SIZES, ThreeNodes

# The step of a job, and the how-manyth time that it is reached.
INGEST = {
    "lease.taken": 1, "run.begun": 1, "wave.ready": 1, "wave.contents": 2, "wave.removed": 1, "wave.rejected": 1,
    "wave.done": 2, "items.removed": 1, "fuse.begun": 1, "fuse.done": 1, "columns.written": 1, "assign.spilled": 1,
    "assign.ready": 1, "assign.appended": 1, "assign.indexed": 1, "assign.projected": 1, "index.begun": 1,
    "index.compacted": 1, "index.made": 1, "index.order": 1, "index.done": 1, "run.ending": 1, "lease.releasing": 1,
    "decode.block": 2,
    "run.reported": 3, "encode.block": 2, "encode.load": 1,
}  # fmt: skip
FIT = {
    "fit.fusion": 1,
    "columns.written": 1,
    "fit.tokenizer": 1,
    "fit.champion": 1,
    "assign.appended": 1,
    "index.made": 2,
}
REFIT = {
    "fit.fusion": 1, "generation.named": 1, "generation.begun": 1, "generation.version": 1, "generation.column": 1,
    "fit.tokenizer": 1, "fuse.begun": 2, "columns.written": 1, "fuse.done": 2, "assign.appended": 1, "run.ending": 1,
    "lease.releasing": 1,
}  # fmt: skip
SWITCH = ("run.begun", "promote.champion", "generation.switched", "columns.written", "assign.projected")
ROLLBACK = ("run.begun", "rollback.champion", "generation.switched", "columns.written", "run.ending", "lease.releasing")
UPGRADE = ("lease.taken", "run.begun", "upgrade.begun", "upgrade.columns", "columns.written", "upgrade.rows")
ADOPT = {
    "run.begun": 1, "adopt.artifact": 1, "adopt.settings": 1, "adopt.appended": 1, "adopt.champion": 1,
    "columns.written": 1, "assign.appended": 1, "assign.projected": 1, "index.made": 2,
}  # fmt: skip
VECTORS = {
    "run.begun": (1,), "wave.ready": (1,), "wave.contents": (1, 2), "wave.removed": (1,), "wave.rejected": (1,),
    "wave.done": (2,), "columns.written": (1, 2), "vectors.updated": (1, 2), "fuse.done": (1,), "assign.appended": (1,),
    "assign.projected": (1,), "index.compacted": (1,), "run.ending": (1,),
}  # fmt: skip
NEW_VECTORS = ("wave.contents", "wave.done", "columns.written", "vectors.updated", "fuse.done", "index.made")
CASES = [
    *(("ingest", step, nth) for step, nth in INGEST.items()),
    *(("fit", step, nth) for step, nth in FIT.items()),
    ("fit", "fit.read", 1),  # for the fusion
    ("fit", "fit.read", 2),  # for the tokenizer
    ("fit", "fit.block", 1),
    *(("adopt", step, nth) for step, nth in ADOPT.items()),
    *(("first adopt", step, 1) for step in ("adopt.artifact", "adopt.settings", "adopt.appended", "adopt.champion")),
    ("first adopt", "columns.written", 1),
    ("first ingest", "contents.made", 1),
    ("first ingest", "wave.contents", 1),
    ("gate", "run.begun", 1),
    ("gate", "gate.recorded", 1),
    ("gated promote", "run.begun", 1),
    ("gated promote", "promote.champion", 1),
    ("promote", "promote.champion", 1),
    ("promote", "columns.written", 1),
    *(("refit", step, nth) for step, nth in REFIT.items()),
    ("learn", "fit.epoch", 2),
    *(("learn", step, 1) for step in ("fit.learned", "fit.fusion", "generation.begun", "fit.tokenizer")),
    *(("first learn", step, 1) for step in ("fit.epoch", "fit.learned", "fit.fusion", "fit.tokenizer", "fit.champion")),
    *(("switch", step, 1) for step in SWITCH),
    *(("rollback", step, 1) for step in ROLLBACK),
    *(("drop", step, 1) for step in ("run.begun", "generation.dropped", "generation.freed", "run.ending")),
    ("ingest into two", "wave.contents", 1),
    ("ingest into two", "fuse.done", 2),
    *(("ingest into two", "assign.appended", nth) for nth in (1, 2)),
    *(("upgrade", step, 1) for step in UPGRADE),
    *(("vectors", step, nth) for step, times in VECTORS.items() for nth in times),
    *(("new vectors", step, 1) for step in NEW_VECTORS),
    ("first vectors", "contents.made", 1),
    ("first vectors", "wave.contents", 2),
    # Between two commits to `contents`, between the two tables, before and after the maintenance.
    *(("remove", "items.removed", nth) for nth in (1, 2, 3, 4)),
    *(("remove", step, 1) for step in ("run.begun", "index.begun", "index.compacted", "run.ending")),
    ("ingest", "items.removed", 3),
]
pytestmark = pytest.mark.slow
NO_ROW, DONE = ("lease.taken",), ("lease.releasing",)


@pytest.mark.parametrize(("name", "step", "nth"), CASES)
def test_after_a_kill_at_any_step_the_next_run_completes_the_job(
    name: str, step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs[name], db)
    process = drivers.start(before.job, db, fault=f"{step}#{nth}", marks=tmp_path, **before.call)
    assert drivers.wait(process).status == -SIGKILL
    assert (tmp_path / step).read_text() == str(process)
    drivers.finish(before.job, db, **before.call)
    assert violations(State.of(db), before.quiet, before.listed, killed=step not in NO_ROW + DONE) == []


def test_every_step_of_a_driver_is_among_those_at_which_one_is_killed() -> None:
    assert {step for _, step, _ in CASES} == STEPS.keys() - {"decode.start", "decode.item", "fence.begun"}


@pytest.mark.parametrize("step", ["run.ending", "lease.releasing"])
def test_an_upgrade_killed_at_its_end_leaves_nothing_to_upgrade_and_no_lease_to_wait_for(
    step: str, jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs["upgrade"], db)
    killed = drivers.run("upgrade", db, fault=step, marks=tmp_path)
    assert killed.status == -SIGKILL
    drivers.finish("upgrade", db)
    # A current database is not written to by an upgrade. The next job takes the lease, and calls the run killed.
    with exclusive_job(Store.open(db), "next", Config()):
        pass
    assert violations(State.of(db), before.quiet, before.listed, killed=step not in DONE) == []


def test_a_video_that_kills_its_decoder_costs_only_its_own_row(
    jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = jobs["first ingest"]
    poison = next(row for row in before.quiet.contents if row["kind"] == "video")
    drivers.finish("ingest", db, fault=f"decode.item@{poison['uri']}", marks=tmp_path, **before.call)
    assert (tmp_path / "decode.item").exists()
    state = State.of(db)
    failed = {row["content_id"]: row["error_class"] for row in state.rejected}
    assert failed.pop(poison["content_id"]) == "OutOfMemory"
    assert failed.keys() == {row["content_id"] for row in before.quiet.rejected}
    assert by_id(state) == {name: row for name, row in by_id(before.quiet).items() if name != poison["content_id"]}


def by_id(state: State) -> dict[str, dict[str, Any]]:
    return {row["content_id"]: row for row in state.contents}


@pytest.mark.parametrize("table", ["lease", "runs", "contents"])
def test_a_half_created_table_is_created_again(table: str, jobs: dict[str, Before], drivers: Drivers, db: Path) -> None:
    """A kill between two files of a table's first version leaves the folder, and no version."""
    before = jobs["first ingest"]
    Store.create(db)
    shutil.rmtree(db / f"{table}.lance", ignore_errors=True)
    (db / f"{table}.lance" / "_transactions").mkdir(parents=True)
    if table == "contents":
        assert not Store.open(db).has_contents()
    else:
        with pytest.raises(StoreError, match="no fuseid database"):
            Store.open(db)
    drivers.finish("ingest", db, **before.call)
    assert violations(State.of(db), before.quiet, before.listed, killed=0) == []


def test_a_table_with_data_but_no_version_is_damaged(db: Path) -> None:
    Store.create(db)
    shutil.rmtree(db / "runs.lance" / "_versions")
    (db / "runs.lance" / "data").mkdir()
    with pytest.raises(StoreError, match=r"the table runs of .* is damaged: it has data and no version"):
        Store.create(db)


def test_random_kills_of_a_changing_catalogue_violate_nothing(drivers: Drivers, tmp_path: Path) -> None:
    """The soak, in small."""
    spec = importlib.util.spec_from_file_location("soak", Path(__file__).parents[2] / "benchmarks" / "soak.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.soak(tmp_path, drivers, kills=3, seed=3)
    assert found.violated == []
    assert found.recovered == found.kills
    assert found.kills.total() == 3


@pytest.fixture(scope="module")
def refusing(drivers: Drivers, tmp_path_factory: pytest.TempPathFactory) -> Before:
    """Items for a CLIP and a Qwen, whose processor takes no picture that is 200 times as long as high: a banner."""
    root = tmp_path_factory.mktemp("refusing")
    (root / "media").mkdir()
    catalogue = Catalogue(root / "media", seed=5)
    for kind, count in (("caption", 4), ("picture", 5)):
        catalogue.add(kind, count)
    Image.new("RGB", (3000, 10), "teal").save(root / "media" / "banner.png")
    catalogue.rows["banner"] = {"content_id": "banner", "uri": "banner.png", "caption": "a banner"}
    settings = {**SETTINGS, "vlm": {"model": str(tiny_vlms.save("qwen3_vl", root / "qwen")), "device": "cpu"}}
    call = {"manifest": catalogue.manifest(), "settings": settings}
    drivers.finish("ingest", root / "quiet", **call)
    return Before(None, "ingest", call, State.of(root / "quiet"), set(catalogue.rows))


@pytest.mark.parametrize("step", ["encode.block", "wave.contents", "run.ending"])
def test_what_an_encoder_refuses_is_recorded_once_and_not_tried_again_after_a_kill(
    step: str, refusing: Before, drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    process = drivers.start("ingest", db, fault=step, marks=tmp_path, **refusing.call)
    assert drivers.wait(process).status == -SIGKILL
    drivers.finish("ingest", db, **refusing.call)
    state = State.of(db)
    assert violations(state, refusing.quiet, refusing.listed, killed=1) == []
    assert {row["content_id"] for row in state.contents if row["media_hash"] and row["vlm"] is None} == {"banner"}
    assert by_id(state)["banner"]["vlm_fp"] is not None
    assert by_id(state)["banner"]["clip_image"] is not None
    assert set(explain(str(db), "banner")["missing"]) == {"vlm"}
    drivers.finish("ingest", db, **refusing.call)
    counts = [run.counts for run in runs(db).runs]
    assert counts[0]["unchanged"] == counts[0]["listed"] == len(refusing.listed)
    assert "incomplete" not in counts[0]
    assert sum(each.get("incomplete", 0) for each in counts) <= 1
    again = State.of(db)
    assert (again.contents, again.rejected) == (state.contents, state.rejected)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ThreeNodes]:
    with ThreeNodes() as cluster:
        yield cluster


@pytest.fixture
def on_ray(cluster: ThreeNodes) -> dict[str, Any]:
    cluster.complete()
    return {"address": cluster.address, "sizes": SIZES}


def test_after_a_kill_on_a_cluster_the_next_run_completes_the_job(
    on_ray: dict[str, Any], jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs["ingest"], db)
    ended = drivers.run("ingest", db, fault="wave.contents#2", marks=tmp_path, **before.call, ray=on_ray)
    assert ended.status == -SIGKILL, ended.words
    assert (tmp_path / "wave.contents").exists()
    drivers.finish("ingest", db, **before.call)
    assert violations(State.of(db), before.quiet, before.listed, killed=1) == []


def test_encoders_that_always_die_end_the_run_with_one_line_and_the_next_run_completes(
    on_ray: dict[str, Any], jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs["ingest"], db)
    ended = drivers.run("ingest", db, fault="encode.block@", marks=tmp_path, **before.call, ray={**on_ray, "tries": 1})
    assert ended.status == 1, ended.words
    line = ended.words.splitlines()[-1]
    assert re.match(r"encoders died \d+ times|\d+ items were lost \d+ times", line)
    assert (tmp_path / "encode.block").exists()
    drivers.finish("ingest", db, **before.call)
    state = State.of(db)
    assert state.outcomes[-2] == f"failed: {line}"
    state.outcomes.pop(-2)
    assert violations(state, before.quiet, before.listed, killed=0) == []


def test_a_run_survives_the_death_of_a_child_a_worker_an_encoder_and_a_node(
    cluster: ThreeNodes, on_ray: dict[str, Any], jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    """The driver waits after its first commit, with blocks in progress on all nodes, while a node dies."""
    before = copied(jobs["ingest"], db)
    fault = "decode.item,decode.block,encode.block,wave.done=hold"
    driver = drivers.start("ingest", db, fault=fault, marks=tmp_path, **before.call, ray=on_ray)
    wait_for(tmp_path / "wave.done")
    cluster.kill()
    (tmp_path / "wave.done.go").touch()
    ended = drivers.wait(driver)
    assert ended.status == 0, ended.words
    died = {step: int((tmp_path / step).read_text()) for step in ("decode.item", "decode.block", "encode.block")}
    assert len({*died.values(), driver}) == 4
    assert violations(State.of(db), before.quiet, before.listed, killed=0) == []


ALL = {**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], "sample": "all"}}


@pytest.mark.parametrize("step", ["fit.read", "fit.block", "fit.tokenizer"])
def test_after_a_kill_on_a_cluster_the_next_fit_completes_the_job(
    step: str, on_ray: dict[str, Any], jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    """All rows on a cluster give the tokenizer that a sample of at least as many gives here."""
    before = copied(jobs["fit"], db)
    ended = drivers.run("fit", db, settings=ALL, fault=step, marks=tmp_path, ray={**on_ray, "fault": ""})
    assert ended.status == -SIGKILL, ended.words
    drivers.finish("fit", db, settings=ALL, ray=on_ray)
    assert violations(State.of(db), before.quiet, before.listed, killed=1) == []


@pytest.mark.parametrize("step", ["fit.read", "fit.block"])
def test_a_fit_survives_the_death_of_an_actor(
    step: str, on_ray: dict[str, Any], jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs["fit"], db)
    drivers.finish("fit", db, settings=ALL, marks=tmp_path, ray={**on_ray, "fault": step})
    assert (tmp_path / step).exists()
    assert violations(State.of(db), before.quiet, before.listed, killed=0) == []


@pytest.mark.parametrize("step", ["fit.read", "fit.block"])
def test_a_fit_survives_the_death_of_a_node(
    step: str, cluster: ThreeNodes, on_ray: dict[str, Any], jobs: dict[str, Before], drivers: Drivers, db: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    before = copied(jobs["fit"], db)
    ray = {**on_ray, "fault": f"{step}=hold"}
    driver = drivers.start("fit", db, settings=ALL, marks=tmp_path, ray=ray)
    wait_for(tmp_path / step)
    cluster.kill()
    (tmp_path / f"{step}.go").touch()
    ended = drivers.wait(driver)
    assert ended.status == 0, ended.words
    assert violations(State.of(db), before.quiet, before.listed, killed=0) == []


# A backup that is made while a job waits at a step is as a database whose job was killed there.

BACKED_UP_AT = [
    ("ingest", "wave.contents", 2), ("ingest", "wave.removed", 1), ("ingest", "wave.rejected", 1),
    ("ingest", "items.removed", 1), ("ingest", "columns.written", 1), ("ingest", "assign.appended", 1),
    ("ingest", "assign.projected", 1), ("ingest", "index.compacted", 1), ("fit", "fit.champion", 1),
    ("fit", "assign.appended", 1), ("promote", "promote.champion", 1),
    ("refit", "generation.begun", 1), ("switch", "promote.champion", 1), ("drop", "generation.dropped", 1),
    ("remove", "items.removed", 2),
    ("upgrade", "upgrade.columns", 1), ("upgrade", "upgrade.rows", 1),
    ("adopt", "adopt.appended", 1), ("adopt", "adopt.champion", 1), ("first adopt", "adopt.artifact", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "step", "nth"), BACKED_UP_AT)
def test_a_backup_made_at_any_step_can_be_continued(
    name: str, step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, db: Path, tmp_path: Path
) -> None:
    before = copied(jobs[name], db)
    job = drivers.start(before.job, db, fault=f"{step}#{nth}=hold", marks=tmp_path, **before.call)
    wait_for(tmp_path / step)
    backup(str(db), str(tmp_path / "backup"))
    (tmp_path / f"{step}.go").touch()
    assert drivers.wait(job).status == 0
    again = tmp_path / "again"
    restore(str(tmp_path / "backup"), str(again))
    assert {damage["where"] for damage in check(str(again), Config())["damages"]} <= {"contents", "rejected"}
    for path in (again, db):
        drivers.finish(before.job, path, **before.call)
    # The original ran the job twice; its second run changed nothing.
    assert violations(State.of(again), before.quiet, before.listed, killed=1) == []
