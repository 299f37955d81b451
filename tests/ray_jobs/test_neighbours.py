"""A neighbour table on Ray is that of the local runner, whatever happens to workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, FuseidError
from fuseid.pipelines import neighbours as verb
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.neighbourhood import partitions, recall
from fuseid.pipelines.neighbourhood.partitions import Closeness, Partitions
from fuseid.pipelines.neighbourhood.row_files import RowFiles
from fuseid.pipelines.neighbourhood.runners import LocalNeighbourRunner, Work
from fuseid.pipelines.neighbourhood.search import Found, Neighbours, Read
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.ray_jobs.neighbours import RayNeighbourRunner

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def files(tmp_path: Path):
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(30, 8)).astype(np.float32)
    vectors = (centres[generator.integers(0, 30, 3000)] + generator.normal(size=(3000, 8))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    opened = RowFiles(8, tmp_path)
    for start in range(0, 3000, 1000):
        opened.add(vectors[start : start + 1000], Closeness(centres).nearest(vectors[start : start + 1000]), 30)
    opened.finish(range(30))
    yield opened, Neighbours(Partitions(centres, opened.parts, 9), 6)
    opened.close()


@dataclass(frozen=True)
class DiesOnce:
    """Kills its process in the group that has this part, unless the mark is there."""

    work: Work
    part: int
    mark: Path
    always: bool = False

    def needs(self, read: Read, group: Sequence[int]) -> list[int]:
        return self.work.needs(read, group)

    def __call__(self, read: Read, group: Sequence[int]) -> Found:
        if self.part in group and (self.always or not self.mark.exists()):
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(read, group)


@dataclass(frozen=True)
class Refuses(DiesOnce):
    def __call__(self, read: Read, group: Sequence[int]) -> Found:
        raise BadInput("this is refused")


def same(one: list[Found], other: list[Found]) -> bool:
    return len(one) == len(other) and all(
        (a.places_N == b.places_N).all() and (a.keys_NK == b.keys_NK).all() for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("stored_bytes", [1, 1 << 20])
def test_the_table_is_that_of_the_local_runner_also_after_the_kill_of_a_worker(files, tmp_path, stored_bytes):
    opened, work = files
    groups = opened.parts.groups(200)
    local = list(LocalNeighbourRunner().run(work, groups, opened.read))
    runner = RayNeighbourRunner(stored_bytes)
    assert same(list(runner.run(work, groups, opened.read)), local)
    mark = tmp_path / "mark"
    assert same(list(runner.run(DiesOnce(work, groups[4][0], mark), groups, opened.read)), local)
    assert mark.exists()


def test_work_that_always_kills_its_worker_is_given_up_and_an_error_is_passed_on(files, tmp_path):
    opened, work = files
    groups = opened.parts.groups(200)
    with pytest.raises(FuseidError, match="lost 5 times over"):
        list(RayNeighbourRunner().run(DiesOnce(work, 0, tmp_path / "mark", always=True), groups, opened.read))
    with pytest.raises(BadInput, match="this is refused"):
        list(RayNeighbourRunner().run(Refuses(work, 0, tmp_path / "mark"), groups, opened.read))


class Kills(RayNeighbourRunner):
    """Kills a worker of each piece of work once."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def run(self, work: Work, groups: Iterable[Sequence[int]], read: Read) -> Iterator[Found]:
        mark = self._folder / type(work).__name__
        return super().run(DiesOnce(work, 0, mark), groups, read)


def test_the_files_are_those_of_the_local_runner_to_the_last_byte(tmp_path, monkeypatch):
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(400, 6)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    (tmp_path / "vectors.ids.txt").write_text("".join(f"v{number:03d}\n" for number in range(400)))
    config = Config.model_validate({"clip": None})
    ingest(str(tmp_path / "db"), Vectors(tmp_path / "vectors.npy"), config, LocalRunner())
    monkeypatch.setattr(partitions, "_ONE_PARTITION", 20)
    monkeypatch.setattr(recall, "CANARIES", 40)
    monkeypatch.setattr(verb, "CANARIES", 40)
    monkeypatch.setattr(verb, "_GROUP_ROWS", 30)
    local = verb.neighbours(str(tmp_path / "db"), tmp_path / "local", 7, recall=0.8)
    assert local["partitions"] > local["probes"]
    marks = tmp_path / "marks"
    marks.mkdir()
    assert verb.neighbours(str(tmp_path / "db"), tmp_path / "ray", 7, recall=0.8, runner=Kills(marks)) == local
    assert sorted(mark.name for mark in marks.iterdir()) == ["Exact", "Neighbours"]
