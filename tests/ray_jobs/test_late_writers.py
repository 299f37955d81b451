"""A job that is stopped (SIGSTOP) past the end of its lease and goes on after another one has run changes nothing: the
database is as if it had been killed where it was stopped."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import pytest

from .exactly_once import (
    CANDIDATE,
    SETTINGS,
    Before,
    Drivers,
    State,
    copied,
    violations_meanwhile,
    wait_for,
)

pytestmark = pytest.mark.slow
# The length of a lease: the least that the configuration allows.
SECONDS = 1.1
FUSION = {**CANDIDATE, "fusion": {"dim": 9}}

BEGIN = [("lease.taken", 1), ("run.begun", 1)]
ASSIGN = [
    ("assign.spilled", 1), ("assign.ready", 1), ("assign.appended", 1), ("assign.indexed", 1), ("assign.projected", 1),
]  # fmt: skip
END = [
    ("index.begun", 1), ("index.compacted", 1), ("index.made", 1), ("index.made", 2), ("index.order", 1),
    ("index.done", 1),
    ("run.ending", 1), ("lease.releasing", 1),
]  # fmt: skip
FIT = [
    *BEGIN, ("fit.fusion", 1), ("fit.tokenizer", 1), ("fuse.begun", 1), ("columns.written", 1), ("fuse.done", 1),
    ("fit.champion", 1), *ASSIGN, ("columns.written", 2), *END,
]  # fmt: skip
PROMOTE = [*BEGIN, ("promote.champion", 1), ("columns.written", 1), ("assign.projected", 1), *END]
ADOPT = [
    ("adopt.artifact", 1), ("adopt.settings", 1), ("adopt.appended", 1), ("adopt.champion", 1), ("columns.written", 1),
]  # fmt: skip
# One of each kind of commit of an ingest.
INGEST = [
    ("wave.ready", 1), ("wave.contents", 2), ("wave.rejected", 1), ("items.removed", 1), ("columns.written", 1),
    ("assign.ready", 1), ("assign.appended", 1), ("index.made", 1),
]  # fmt: skip
VECTORS = [
    ("wave.ready", 1), ("wave.contents", 2), ("wave.removed", 1), ("wave.rejected", 1), ("columns.written", 1),
    ("vectors.updated", 1), ("columns.written", 2), ("fuse.begun", 1), ("assign.ready", 1), ("index.begun", 1),
]  # fmt: skip
UPGRADE = [
    *BEGIN, ("upgrade.begun", 1), ("upgrade.columns", 1), ("columns.written", 1), ("upgrade.rows", 1),
]  # fmt: skip


# Before a commit, between two, and after the last one.
REMOVE = [*BEGIN, ("items.removed", 1), ("items.removed", 2), ("index.begun", 1)]


def held(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "run": {**settings["run"], "lease_seconds": SECONDS}}


def without_outcomes(state: State) -> State:
    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["content_id"], row.get("tokenizer_id") or ""))

    return replace(
        state, contents=ordered(state.contents), rejected=ordered(state.rejected), ledger=ordered(state.ledger),
        outcomes=[],
    )  # fmt: skip


class Late:
    """Runs the same two jobs on two copies of a database: in one of them the first job is stopped at a step and goes on
    after the second, in the other it is killed there."""

    def __init__(self, drivers: Drivers, root: Path, before: Before, step: str, nth: int) -> None:
        self._drivers = drivers
        self._before = before
        self._step, self._nth = step, nth
        self.db, self._twin = root / "db", root / "twin"
        for db in (self.db, self._twin):
            copied(before, db)
        self._marks = [root / "held", root / "killed"]
        for folder in self._marks:
            folder.mkdir()

    def run(self, job: str, **call: Any) -> None:
        """job, call: the second one."""
        held_at, killed_at = (folder / self._step for folder in self._marks)
        fault = f"{self._step}#{self._nth}"
        first = self._drivers.start(
            self._before.job, self.db, held(SETTINGS), f"{fault}=hold", self._marks[0], **self._before.call
        )
        other = self._drivers.start(
            self._before.job, self._twin, fault=fault, marks=self._marks[1], **self._before.call
        )
        wait_for(held_at)
        os.kill(first, SIGSTOP)
        try:
            (self._marks[0] / f"{self._step}.go").touch()
            killed = self._drivers.wait(other)
            assert killed.status == -SIGKILL, killed.words
            assert killed_at.exists()
            for db in (self._twin, self.db):
                self._finish(job, db, call)
        finally:
            os.kill(first, SIGCONT)
        ended = self._drivers.wait(first)
        assert ended.status in (0, 1), ended.words
        assert len(ended.words.splitlines()) == ended.status, ended.words
        late = State.of(self.db)
        assert violations_meanwhile(late) == []
        assert without_outcomes(late) == without_outcomes(State.of(self._twin))

    def _finish(self, job: str, db: Path, call: dict[str, Any]) -> None:
        """Waits out a lease that is still held."""
        while (ended := self._drivers.run(job, db, **call)).status == 3:
            pass
        assert ended.status == 0, ended.words


@pytest.mark.parametrize(("step", "nth"), FIT)
def test_a_late_first_fit_changes_nothing_after_another_one(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    """The other one has a fusion of its own."""
    Late(drivers, tmp_path, jobs["fit"], step, nth).run("fit", settings=FUSION)


@pytest.mark.parametrize(("step", "nth"), PROMOTE)
def test_a_late_promote_changes_nothing_after_another_one(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    """Of three tokenizers the second is promoted late, and meanwhile the third."""
    third = shutil.copytree(jobs["promote"].db, tmp_path / "third")
    drivers.finish("fit", third, settings={**SETTINGS, "tokenizer": {**SETTINGS["tokenizer"], "seed": 2}})
    (made,) = {path.name for path in (third / "artifacts").iterdir()} - {
        path.name for path in (jobs["promote"].db / "artifacts").iterdir()
    }
    before = replace(jobs["promote"], db=third)
    Late(drivers, tmp_path, before, step, nth).run("promote", tokenizer=made)


@pytest.mark.parametrize(("step", "nth"), INGEST)
def test_a_late_ingest_changes_nothing_after_another_one(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    before = jobs["ingest"]
    Late(drivers, tmp_path, before, step, nth).run("ingest", **before.call)


@pytest.mark.parametrize(("step", "nth"), VECTORS)
@pytest.mark.parametrize("other", ["the same", "new vectors"])
def test_a_late_ingest_of_vectors_changes_nothing_after_another_one(
    other: str, step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    before = jobs["vectors"]
    second = before if other == "the same" else jobs[other]
    Late(drivers, tmp_path, before, step, nth).run("vectors", **second.call)


@pytest.mark.parametrize(("step", "nth"), UPGRADE)
def test_a_late_upgrade_changes_nothing_after_another_one(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    Late(drivers, tmp_path, jobs["upgrade"], step, nth).run("upgrade")


@pytest.mark.parametrize(("step", "nth"), [*ADOPT, ("assign.appended", 1), ("assign.projected", 1)])
def test_a_late_adoption_changes_nothing_after_another_one(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    before = jobs["adopt"]
    Late(drivers, tmp_path, before, step, nth).run("adopt", **before.call)


@pytest.mark.parametrize(("step", "nth"), ADOPT)
def test_a_late_first_adoption_changes_nothing_after_a_fit(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    Late(drivers, tmp_path, jobs["first adopt"], step, nth).run("fit")


@pytest.mark.parametrize(("step", "nth"), REMOVE)
def test_a_late_removal_changes_nothing_after_an_ingest(
    step: str, nth: int, jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    """The ingest brings back what the removal has removed so far."""
    Late(drivers, tmp_path, jobs["remove"], step, nth).run("ingest", **jobs["first ingest"].call)


def test_a_first_fit_suspended_after_its_fusion_changes_no_setting(
    jobs: dict[str, Before], drivers: Drivers, tmp_path: Path
) -> None:
    Late(drivers, tmp_path, jobs["fit"], "fit.fusion", 1).run("fit", settings=FUSION)
