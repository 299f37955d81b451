"""SIGTERM or Ctrl-C, once, twice or to the whole group, stops every job in every phase: one line and the status of the
signal, `stopped` in `runs`, a free lease, no process left, and the next run completes the job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM
from types import TracebackType
from typing import Any

import psutil
import pytest

from fuseid.core.platform import LACKS
from fuseid.pipelines.store.store import Store

from .exactly_once import SETTINGS, Catalogue, Drivers, State, violations
from .three_nodes import ThreeNodes

pytestmark = pytest.mark.slow
STATUS = {SIGTERM: 143, SIGINT: 130}
NAME = {SIGTERM: "SIGTERM", SIGINT: "Ctrl-C"}
# More than a repeated delivery of the first signal may take.
_SECOND_AFTER = 0.8
_QUICK = 30.0


class Job:
    """A `fuseid` process, the leader of a group as a shell or `timeout` makes it; a context manager.

    hold: the steps at which it waits; `release` lets it continue.
    """

    def __init__(self, folder: Path, *arguments: object, hold: str = "", **environment: str) -> None:
        self._marks = folder / "marks"
        self._marks.mkdir(exist_ok=True)
        faults = ",".join(f"{step}=hold" for step in hold.split())
        # Ray turns its tokens on in the process that started one, and so in a cluster that these tests start later.
        names = [name for name in os.environ if not name.startswith(("FUSEID_", "RAY_")) or name == "RAY_AUTH_MODE"]
        kept = {name: os.environ[name] for name in names}
        self.process = subprocess.Popen(
            [Path(sys.executable).with_name("fuseid"), *map(str, arguments)],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**kept, "FUSEID_FAULT": faults, "FUSEID_FAULT_MARKS": str(self._marks), **environment},
        )  # fmt: skip
        self._family: list[psutil.Process] = []

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (*self.family(), *self._family):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.communicate()

    def family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def until(self, there: Callable[[], object]) -> None:
        deadline = time.monotonic() + 90
        while not there():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_for_step(self, step: str) -> None:
        self.until((self._marks / step).exists)

    def release(self, step: str) -> None:
        (self._marks / f"{step}.go").touch()

    def send(self, number: int, how: str) -> None:
        """how: once, twice, or group: what `timeout` sends."""
        self._family = self.family()
        self.process.send_signal(number)
        if how == "twice":
            time.sleep(_SECOND_AFTER)
            self.process.send_signal(number)
        elif how == "group":
            os.killpg(self.process.pid, number)

    def ended(self, number: int, within: float = _QUICK, alone: bool = True) -> str:
        """Stopped by that signal, with one line, alone or the last, and no process left; -> the line."""
        out, err = self.process.communicate(timeout=within)
        *others, line = without_progress(err) or [""]
        assert self.process.returncode == STATUS[number], out + err
        assert line.startswith(f"error: stopped by {NAME[number]}: ")
        assert not alone or (out, others) == ("", [])
        assert psutil.wait_procs(self._family, timeout=5)[1] == [], "a process is left"
        return line


def without_progress(err: str) -> list[str]:
    """The lines that do not tell how far a run is."""
    return [line for line in err.splitlines() if not re.match(r"[-\d]+ [:,\d]+ (run [-\w]+|\w+): ", line)]


@dataclass(frozen=True)
class Made:
    """A folder with `fitted`, `ingested` and `candidate` databases, a manifest to ingest, and what becomes of each."""

    folder: Path
    listed: set[str]
    quiet: dict[str, State]
    tokenizer: str


@pytest.fixture(scope="module")
def made(drivers: Drivers, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("signals")
    (root / "media").mkdir()
    catalogue = Catalogue(root / "media", seed=2)
    for kind, count in (("caption", 20), ("picture", 8), ("video", 1), ("broken", 2)):
        catalogue.add(kind, count)
    drivers.finish("ingest", root / "ingested", manifest=catalogue.manifest())
    shutil.copytree(root / "ingested", root / "fitted")
    drivers.finish("fit", root / "fitted")
    shutil.copytree(root / "fitted", root / "candidate")
    other = {**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], "seed": 1}}
    drivers.finish("fit", root / "candidate", settings=other)
    tokenizers = {path.name for path in (root / "candidate" / "artifacts").glob("rq-kmeans-*")}
    (tokenizer,) = tokenizers - {Store.open(root / "fitted").setting("champion")}
    shutil.copytree(root / "candidate", root / "promoted")
    drivers.finish("promote", root / "promoted", tokenizer=tokenizer)
    catalogue.add("caption", 12)
    catalogue.add("picture", 8)
    catalogue.add("broken", 1)
    catalogue.edit(captions=2, pictures=1)
    catalogue.remove("caption", 2)
    shutil.copytree(root / "fitted", root / "updated")
    drivers.finish("ingest", root / "updated", manifest=catalogue.manifest())
    quiet = {"ingest": "updated", "fit": "fitted", "promote": "promoted"}
    states = {job: State.of(root / name) for job, name in quiet.items()}
    return Made(root, set(catalogue.rows), states, tokenizer)


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    """Where a command runs, with `db` to ingest into."""
    shutil.copytree(made.folder / "fitted", tmp_path / "db")
    (tmp_path / "fuseid.yaml").write_text(json.dumps(SETTINGS))
    return tmp_path


def ingest(made: Made, folder: Path, runner: str, hold: str = "", drain: float = 20, **environment: str) -> Job:
    settings = {**SETTINGS, "run": {**SETTINGS["run"], "drain_seconds": drain}}
    (folder / "fuseid.yaml").write_text(json.dumps(settings))
    manifest = made.folder / "media" / "manifest.jsonl"
    options = ("--db", "db", "--config", "fuseid.yaml", "--runner", runner, "--prune")
    return Job(folder, "ingest", manifest, *options, hold=hold, **environment)


def check(made: Made, folder: Path, drivers: Drivers, job: str = "ingest", rows: int = 1, **call: Any) -> None:
    """After a stop, and after the run that goes on. rows: that the stopped run has left in `runs`."""
    stopped, quiet = State.of(folder / "db"), made.quiet[job]
    assert stopped.outcomes[-1] == ("stopped" if rows else "done")
    assert stopped.lease_holder == ""
    failed = {row["content_id"] for row in quiet.rejected}
    assert {row["content_id"] for row in stopped.rejected} <= failed, "an item was rejected for the signal"
    if job == "ingest":
        call["manifest"] = made.folder / "media" / "manifest.jsonl"
    drivers.finish(job, folder / "db", **call)
    state = State.of(folder / "db")
    assert state.outcomes.count("stopped") == rows
    state.outcomes[:] = [outcome for outcome in state.outcomes if outcome != "stopped"]
    listed = made.listed if job == "ingest" else {row["content_id"] for row in (*quiet.contents, *quiet.rejected)}
    assert violations(state, quiet, listed, killed=0) == []


def done(line: str) -> int:
    found = re.search(r"(\d+) items of this run are in the database", line)
    assert found is not None, line
    return int(found[1])


# An ingest without Ray


@pytest.mark.parametrize(
    ("step", "number", "how"),
    [
        ("lease.taken", SIGTERM, "group"),
        ("run.begun", SIGINT, "once"),
        ("items.removed", SIGTERM, "once"),
        ("assign.ready", SIGTERM, "group"),
        ("assign.appended", SIGINT, "group"),
        ("columns.written", SIGTERM, "once"),
        ("index.begun", SIGTERM, "once"),
        ("index.made", SIGINT, "once"),
        ("run.ending", SIGTERM, "group"),
    ],
)
def test_between_streams_an_ingest_ends_at_once(
    made: Made, folder: Path, drivers: Drivers, step: str, number: int, how: str
) -> None:
    with ingest(made, folder, "local", hold=step) as job:
        job.wait_for_step(step)
        job.send(number, how)
        job.ended(number, within=5)
    check(made, folder, drivers, rows=step != "lease.taken")


def test_a_run_that_is_releasing_its_lease_is_done(made: Made, folder: Path, drivers: Drivers) -> None:
    with ingest(made, folder, "local", hold="lease.releasing") as job:
        job.wait_for_step("lease.releasing")
        job.send(SIGTERM, "group")
        job.release("lease.releasing")
        _, err = job.process.communicate(timeout=_QUICK)
        assert (job.process.returncode, without_progress(err)) == (0, [])
    check(made, folder, drivers, rows=0)


@pytest.mark.parametrize("step", ["encode.load", "decode.start", "decode.item", "wave.contents"])
def test_the_work_in_progress_is_finished(made: Made, folder: Path, drivers: Drivers, step: str) -> None:
    """The decode children are in the group that gets the signal."""
    with ingest(made, folder, "local", hold=step) as job:
        job.wait_for_step(step)
        job.send(SIGTERM, "group")
        time.sleep(0.5)
        job.release(step)
        assert done(job.ended(SIGTERM)) > 0
    check(made, folder, drivers)


@pytest.mark.parametrize("step", ["encode.load", "decode.item", "wave.contents"])
def test_a_second_signal_ends_an_ingest_at_once(made: Made, folder: Path, drivers: Drivers, step: str) -> None:
    with ingest(made, folder, "local", hold=step) as job:
        job.wait_for_step(step)
        job.send(SIGINT, "twice")
        assert "run the same command again" in job.ended(SIGINT, within=5)
    check(made, folder, drivers)


def test_draining_ends_within_its_time_limit(made: Made, folder: Path, drivers: Drivers) -> None:
    with ingest(made, folder, "local", hold="encode.block", drain=1) as job:
        job.wait_for_step("encode.block")
        job.send(SIGTERM, "group")
        assert done(job.ended(SIGTERM, within=6)) == 0
    check(made, folder, drivers)


# On a Ray of its own


_STARTS_RAY = """
import os, signal, psutil
from fuseid.ray_jobs.runner import connect
got = []
signal.signal(signal.SIGTERM, lambda *_: got.append("SIGTERM"))
connect()
signal.raise_signal(signal.SIGTERM)
groups = {os.getpgid(each.pid) for each in psutil.Process().children()}
print(got, "SIGALRM after", signal.alarm(0), os.getpgid(0) in groups, len(groups) > 1)
"""


def test_ray_takes_over_no_handler_and_starts_outside_the_group() -> None:
    """Ray's C++ would abort the process by SIGALRM 3 seconds after a SIGTERM."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-P", "-c", _STARTS_RAY]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("['SIGTERM'] SIGALRM after 0 False True\n", "")


_STAYS = """
import os, time
import psutil
group = os.getpgid(0)
from fuseid.ray_jobs.runner import connect
connect()
print(os.getpgid(0) == group, *[each.pid for each in psutil.Process().children(recursive=True)], flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("lacks", ["", "parent-death-signal"])
def test_a_cluster_ends_with_the_killed_command_that_has_started_it(lacks: str) -> None:
    """It stays in its group, which has the terminal; Ray's own substitute would give it one of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-P", "-c", _STAYS]
    with subprocess.Popen(command, env={**kept, LACKS: lacks}, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        stays, *numbers = driver.stdout.readline().split()
        # Ray's two agents of a node end by themselves, up to a minute later.
        all_of_it = [psutil.Process(int(number)) for number in numbers]
        cluster = [each for each in all_of_it if "Agent" not in each.name()]
        driver.kill()
    assert stays == "True"
    assert len(cluster) > 2
    assert psutil.wait_procs(cluster, timeout=20)[1] == [], "a process is left"


@pytest.mark.parametrize(("number", "how", "seconds"), [(SIGTERM, "group", 8), (SIGINT, "once", 0)])
def test_on_its_own_ray_the_work_in_progress_is_finished(
    made: Made, folder: Path, drivers: Drivers, number: int, how: str, seconds: float
) -> None:
    """Also when that takes long: an encoder is held for so many seconds."""
    with ingest(made, folder, "ray", hold="encode.block") as job:
        job.wait_for_step("encode.block")
        job.send(number, how)
        time.sleep(seconds)
        job.release("encode.block")
        assert 0 < done(job.ended(number)) < len(made.listed)
    check(made, folder, drivers)


@pytest.mark.parametrize(
    ("phase", "number", "how"),
    [("starting", SIGTERM, "group"), ("starting", SIGINT, "twice"), ("loading", SIGTERM, "group")],
)
def test_while_ray_starts_or_models_load_a_run_ends_in_time(
    made: Made, folder: Path, drivers: Drivers, phase: str, number: int, how: str
) -> None:
    with ingest(made, folder, "ray", hold="encode.load", drain=1) as job:
        if phase == "starting":
            job.until(lambda: any(process.name() == "gcs_server" for process in job.family()))
        else:
            job.wait_for_step("encode.load")
        job.send(number, how)
        job.ended(number, within=6)
    check(made, folder, drivers)


# On a Ray that it has joined


@pytest.fixture
def cluster() -> Iterator[ThreeNodes]:
    with ThreeNodes() as cluster:
        yield cluster


def test_on_a_joined_ray_a_run_ends_in_time(made: Made, folder: Path, drivers: Drivers, cluster: ThreeNodes) -> None:
    """Also where the nodes of that Ray die meanwhile."""
    for number, how in ((SIGTERM, "group"), (SIGINT, "twice"), (SIGTERM, "nodes die")):
        shutil.rmtree(folder / "db")
        shutil.rmtree(folder / "marks", ignore_errors=True)
        shutil.copytree(made.folder / "fitted", folder / "db")
        with ingest(made, folder, "ray", hold="wave.contents", RAY_ADDRESS=cluster.address) as job:
            job.wait_for_step("wave.contents")
            job.send(number, how)
            if how == "nodes die":
                cluster.kill()
                cluster.kill()
            if how != "twice":
                time.sleep(3.5)
                job.release("wave.contents")
            # Ray may print something of its own before.
            job.ended(number, alone=False)
        check(made, folder, drivers)


# Other jobs


@pytest.mark.parametrize(
    ("step", "number", "how"),
    [
        ("fit.fusion", SIGTERM, "group"),
        ("fit.tokenizer", SIGINT, "once"),
        ("fit.champion", SIGTERM, "once"),
        ("assign.appended", SIGTERM, "group"),
    ],
)
def test_a_fit_ends_at_once(made: Made, folder: Path, drivers: Drivers, step: str, number: int, how: str) -> None:
    shutil.rmtree(folder / "db")
    shutil.copytree(made.folder / "ingested", folder / "db")
    with Job(folder, "fit", "--db", "db", "--config", "fuseid.yaml", hold=step) as job:
        job.wait_for_step(step)
        job.send(number, how)
        job.ended(number, within=5)
    check(made, folder, drivers, "fit")


@pytest.mark.parametrize(("step", "number", "how"), [("fit.read", SIGTERM, "group"), ("fit.block", SIGINT, "once")])
def test_a_fit_on_its_own_ray_ends_in_time(made: Made, folder: Path, step: str, number: int, how: str) -> None:
    """The step is one of an actor: the fusion is there already."""
    (folder / "fuseid.yaml").write_text(json.dumps({**SETTINGS, "tokenizer": {"sample": "all", "codebook_sizes": [5]}}))
    call = (folder, "fit", "--db", "db", "--config", "fuseid.yaml", "--runner", "ray")
    with Job(*call, hold=step) as job:
        job.wait_for_step(step)
        job.send(number, how)
        job.ended(number, within=6)
    state = State.of(folder / "db")
    assert (state.outcomes[-1], state.lease_holder) == ("stopped", "")
    with Job(*call) as job:
        assert "Traceback" not in job.process.communicate(timeout=_QUICK + 30)[1]
        assert job.process.returncode == 0
    assert State.of(folder / "db").outcomes[-1] == "done"


def test_a_promotion_ends_at_once(made: Made, folder: Path, drivers: Drivers) -> None:
    shutil.rmtree(folder / "db")
    shutil.copytree(made.folder / "candidate", folder / "db")
    with Job(folder, "promote", made.tokenizer, "--db", "db", "--config", "fuseid.yaml", hold="columns.written") as job:
        job.wait_for_step("columns.written")
        job.send(SIGTERM, "group")
        job.ended(SIGTERM, within=5)
    check(made, folder, drivers, "promote", tokenizer=made.tokenizer)


def test_an_assignment_ends_at_once(made: Made, folder: Path) -> None:
    with Job(folder, "assign", "--db", "db", "--config", "fuseid.yaml", hold="index.begun") as job:
        job.wait_for_step("index.begun")
        job.send(SIGINT, "group")
        job.ended(SIGINT, within=5)
    state = State.of(folder / "db")
    assert (state.outcomes[-1], state.lease_holder) == ("stopped", "")


@pytest.fixture(scope="module")
def events(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.csv"
    items = sorted(row["content_id"] for row in made.quiet["fit"].contents)
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id,content_id,timestamp\n")
        for number in range(400_000):
            file.write(f"u{number % 20_011},{items[number % len(items)]},{1_700_000_000 + number}\n")
    return path


@pytest.mark.parametrize(("number", "how"), [(SIGTERM, "group"), (SIGINT, "once")])
@pytest.mark.parametrize("runner", ["local", "ray", "ray starting"])
def test_an_export_of_sequences_leaves_nothing(
    made: Made, folder: Path, events: Path, runner: str, number: int, how: str
) -> None:
    before = sorted(folder.iterdir())
    options = ("--interactions", events, "--out", "out", "--runner", runner.split()[0])
    with Job(folder, "export", "sequences", "--db", "db", *options) as job:
        names = {"ray": "ray::_write", "ray starting": "gcs_server"}
        if runner == "local":
            job.until(lambda: any(path.name.startswith(".out") for path in folder.iterdir()))
        else:
            job.until(lambda: any(process.name().startswith(names[runner]) for process in job.family()))
        job.send(number, how)
        job.ended(number)
    assert [path for path in sorted(folder.iterdir()) if path.name != "marks"] == before
