"""The pool of encoders follows the work and the cluster, and no block waits for an encoder that never starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import ray

from fuseid.core.config import Config, load_config
from fuseid.core.schemas import WORK
from fuseid.encoders.fake import FakeClip
from fuseid.pipelines.ingestion.steps import EncodeStep
from fuseid.pipelines.streams.prefetch import Prefetch
from fuseid.ray_jobs import flow as flows
from fuseid.ray_jobs import pool as pools
from fuseid.ray_jobs.flow import Flow
from fuseid.ray_jobs.pool import Pool, Worker
from fuseid.ray_jobs.sizing import Sizes

ONE = Sizes(2, 0.3, 1, 0.3, 0.0, 1)
TWO = Sizes(2, 0.3, 2, 0.3, 0.0, 1)


class SlowStep(EncodeStep):
    """Notes every block in a file of its own process."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__(FakeClip(8), None)
        self._log = log / f"{time.time_ns()}"
        self._log.touch()
        self._seconds = seconds

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        time.sleep(self._seconds)
        with self._log.open("a", encoding="ascii") as lines:
            lines.write("block\n")
        return super().__call__(batch)


def slow(log: Path, seconds: float, config: Config) -> EncodeStep:
    return SlowStep(log, seconds)


Feed = Callable[[Pool], Iterator[pa.RecordBatch]]


def block(number: int) -> pa.RecordBatch:
    row = {"content_id": str(number), "kind": "text", "caption": f"number {number}", "want_text": True}
    return pa.RecordBatch.from_pylist([row], schema=WORK)


def run(feed: Feed, measure: Callable[[], Sizes], log: Path, seconds: float = 0.0) -> list[int]:
    """-> the blocks that came out, in order. seconds: what encoding one takes."""
    config = load_config(None, {"clip.model": "fake:8"})
    with (
        Flow(config, measure, partial(slow, log, seconds)) as flow,
        Prefetch(feed(flow.encoders), room=4, name="plan") as planned,
    ):
        return sorted(int(name.as_py()) for batch in flow.run(planned) for name in batch["content_id"])


def encoded(log: Path) -> list[int]:
    """Blocks per encoder, in the order in which they were loaded."""
    return [len(path.read_text().splitlines()) for path in sorted(log.iterdir())]


@pytest.mark.usefixtures("ray_cluster")
class TestOnRay:
    def test_no_more_encoders_are_loaded_than_there_are_blocks(self, tmp_path: Path) -> None:
        assert run(lambda pool: iter([block(0)]), lambda: TWO, tmp_path) == [0]
        assert encoded(tmp_path) == [1]

    @pytest.mark.slow
    def test_encoders_are_added_with_the_work_and_removed_when_idle(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(flows, "_LOOK_SECONDS", 0.1)
        monkeypatch.setattr(pools, "_IDLE_SECONDS", 1.0)
        numbers = count()

        def feed(pool: Pool) -> Iterator[pa.RecordBatch]:
            # Many blocks until the cluster has grown; few, until an encoder has been removed; then many again.
            for encoders, pause in ((2, 0.0), (1, 0.5), (2, 0.0)):
                deadline = time.monotonic() + 100
                while pool.ready != encoders:
                    assert time.monotonic() < deadline, f"{pool.ready} encoders in place of {encoders}"
                    time.sleep(pause)
                    yield block(next(numbers))

        found = run(feed, lambda: TWO if sum(encoded(tmp_path)) else ONE, tmp_path, seconds=0.2)
        assert found == list(range(next(numbers)))
        assert len(encoded(tmp_path)) == 3

    def test_an_encoder_that_cannot_be_placed_does_not_block_the_run(self, tmp_path: Path) -> None:
        # One of them reserves more than half of the cores that there are.
        wide = Sizes(2, 0.05, 2, 0.6 * ray.cluster_resources()["CPU"], 0.0, 1)
        assert run(lambda pool: map(block, range(6)), lambda: wide, tmp_path) == list(range(6))
        assert encoded(tmp_path) == [6]


def test_a_block_goes_to_an_encoder_of_its_node_unless_another_has_less_to_do() -> None:
    here, there = (Worker(SimpleNamespace(), node) for node in ("here", "there"))
    pool = Pool("an encoder", lambda: (SimpleNamespace(), None), lambda: 2, depth=3)
    pool._ready += [there, here]
    assert pool.free("here") is here
    here.busy = 2
    assert pool.free("here") is there
    here.busy = there.busy = 3
    assert pool.free("here") is None
