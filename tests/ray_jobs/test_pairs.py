"""Pairs on Ray are those of the local runner to the last byte, whatever happens to workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseid.core.errors import BadInput, FuseidError
from fuseid.pipelines.pairing.options import METHODS, Options
from fuseid.pipelines.pairs import pairs
from fuseid.ray_jobs.pairs import RayPairRunner

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "i.csv"
    rows = np.random.default_rng(5).integers(0, [50, 30, 90_000], (800, 3)).tolist()
    lines = [f"u{user},v{item},{1_714_564_800 + time}\n" for user, item, time in rows]
    path.write_text("user_id,content_id,timestamp\n" + "".join(lines))
    return path


@dataclass(frozen=True)
class DiesOnce:
    work: Callable[[Any], Any]
    mark: Path
    always: bool = False

    def __call__(self, piece: Any) -> Any:
        if self.always or not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(piece)


class Kills(RayPairRunner):
    """Kills a worker of each step once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, work: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        return super().run(DiesOnce(work, self._folder / type(work).__name__), pieces)


@pytest.mark.parametrize("method", METHODS)
def test_the_bytes_are_those_of_the_local_runner_also_after_the_kill_of_workers(events, tmp_path, method):
    local = pairs(events, tmp_path / "local.parquet", Options(method))
    marks = tmp_path / "marks"
    marks.mkdir()
    for name, runner in (("ray", RayPairRunner()), ("kills", Kills(marks))):
        found = pairs(events, tmp_path / f"{name}.parquet", Options(method), runner=runner)
        assert {**found, "out": local["out"]} == local
        assert (tmp_path / f"{name}.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    assert len(list(marks.iterdir())) == (5 if method == "swing" else 3)


def refuses(piece: Any) -> Any:
    raise BadInput("this is refused")


def test_work_that_always_kills_its_worker_is_given_up_and_an_error_is_passed_on(tmp_path):
    with pytest.raises(FuseidError, match="lost 5 times over"):
        list(RayPairRunner().run(DiesOnce(len, tmp_path / "mark", always=True), [[]]))
    with pytest.raises(BadInput, match="this is refused"):
        list(RayPairRunner().run(refuses, [1]))
