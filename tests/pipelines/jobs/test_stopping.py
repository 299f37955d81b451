"""A stopped run keeps finished items, reports them, and leaves a store that the next run continues with."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from fuseid.core.errors import Stopped
from fuseid.pipelines.jobs.stopping import stoppable

SMALL = {"block_rows": 4, "wave_rows": 8, "wave_vectors": 8}


def signal_after_first_wave(number: int = signal.SIGTERM):
    """Raises the signal once, after the first wave."""
    return lambda waves: signal.raise_signal(number) if waves == 1 else None


def outcomes(workspace, db="db"):
    return workspace.store(db).dataset("runs").to_table().sort_by("started_at")["outcome"].to_pylist()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_stopped_run_keeps_finished_items_and_the_next_run_completes_it(bare, cluster, number, status):
    vectors, more = cluster(30), cluster(200, seed=1, prefix="w")
    for db in ("quiet", "stopped"):
        bare.ingest_vectors(vectors, db=db)
        bare.fit(db)
    bare.ingest_vectors(vectors | more, db="quiet")
    before = signal.getsignal(number)
    config = bare.settings(clip=None, run=SMALL)
    with pytest.raises(Stopped, match=r"stopped by .*: \d+ items of this run") as caught:
        bare.ingest_vectors(vectors | more, db="stopped", config=config, after_wave=signal_after_first_wave(number))
    assert caught.value.exit_status == status
    assert "\n" not in str(caught.value)
    assert signal.getsignal(number) is before
    # Work in progress, which is a few waves, was committed, the rest was not begun; IDs are given by a completed run.
    done = len(bare.rows(db="stopped")) - 30
    assert 8 <= done < 200
    assert f"{done} items" in str(caught.value)
    assert sum(sid is None for sid in bare.ids("stopped").values()) == done
    assert outcomes(bare, "stopped")[-1] == "stopped"
    assert bare.store("stopped").dataset("lease").to_table()["holder"].to_pylist() == [""]

    run = bare.ingest_vectors(vectors | more, db="stopped", config=config)
    assert run.counts["planned"] == 200 - done
    assert bare.ids("stopped") == bare.ids("quiet")


def test_a_stopped_run_removes_nothing(bare, cluster):
    bare.ingest_vectors(cluster(60))
    config = bare.settings(clip=None, run=SMALL)
    some = dict(list(cluster(60).items())[:55]) | cluster(60, prefix="new")
    with pytest.raises(Stopped):
        bare.ingest_vectors(some, config=config, after_wave=signal_after_first_wave(), prune=True)
    assert bare.rows().keys() > cluster(60).keys()


def test_work_that_takes_longer_than_the_drain_time_is_abandoned(workspace, encode_step):
    """An encoder that would need an hour: the run ends in time, with the wave before it."""
    begun, release = threading.Event(), threading.Event()

    def slow(batch):
        if begun.is_set():
            release.wait(3600)
        begun.set()
        return encode_step(batch)

    config = workspace.settings(run={"block_rows": 4, "wave_rows": 4, "wave_vectors": 4, "drain_seconds": 0.5})
    started = time.monotonic()
    try:
        with pytest.raises(Stopped, match="4 items"):
            workspace.ingest(
                workspace.captions(40), config=config, load=lambda _: slow,
                after_wave=lambda waves: (threading.Timer(3, release.set).start(), signal.raise_signal(signal.SIGTERM)),
            )  # fmt: skip
    finally:
        release.set()
    assert time.monotonic() - started < 30
    assert len(workspace.rows()) == 4
    assert workspace.ingest(workspace.captions(40)).counts["planned"] == 36


def test_a_second_signal_ends_a_run_at_once(bare, cluster):
    def twice(waves: int) -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.6)
        signal.raise_signal(signal.SIGINT)

    config = bare.settings(clip=None, run=SMALL)
    with pytest.raises(KeyboardInterrupt):
        bare.ingest_vectors(cluster(60), config=config, after_wave=twice)
    assert outcomes(bare) == ["stopped"]
    assert len(bare.rows()) == 8
    bare.ingest_vectors(cluster(60), config=config)
    assert len(bare.rows()) == 60


def test_a_repeated_delivery_of_a_signal_does_not_count_as_a_second_one(bare, cluster):
    """`timeout` signals its command, and at once the command's group."""

    def both(waves: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        bare.ingest_vectors(cluster(60), config=bare.settings(clip=None, run=SMALL), after_wave=both)


def test_a_run_in_the_background_goes_on_ignoring_ctrl_c(bare, cluster):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        bare.ingest_vectors(
            cluster(60),
            config=bare.settings(clip=None, run=SMALL),
            after_wave=lambda waves: signal.raise_signal(signal.SIGINT),
        )
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcomes(bare) == ["done"]


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def run() -> None:
        with stoppable(1) as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
