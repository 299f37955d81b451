"""One writer at a time; a dead one is replaced at once, one that does not renew when its lease has expired."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from fuseid.core.errors import LeaseHeld, LeaseLost
from fuseid.core.platform import LACKS
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.store.store import Store

HOLDER = """
import sys
from fuseid.core.errors import LeaseLost
from fuseid.pipelines.jobs.lease import Lease
from fuseid.pipelines.store.store import Store

with Lease(Store.open(sys.argv[1]), float(sys.argv[2])) as lease:
    print("held", flush=True)
    sys.stdin.readline()
    try:
        lease.check()
        print("still held", flush=True)
    except LeaseLost as error:
        print("lost:", error, flush=True)
"""


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "db")


@pytest.fixture
def holder(store):
    """Starts another process that holds the lease and waits; to be ended by the test."""
    started = []

    def start(seconds: float, within: Sequence[str] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*within, sys.executable, "-c", HOLDER, store.uri, str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_lease_is_free_again_after_its_block(store):
    for _ in range(3):
        with Lease(store, 30) as lease:
            lease.check()
    assert store.dataset("lease").count_rows() == 1


def test_a_lease_is_free_again_after_a_block_that_raised(store):
    with pytest.raises(ZeroDivisionError), Lease(store, 30):
        raise ZeroDivisionError
    with Lease(store, 30) as lease:
        lease.check()


def test_a_dead_holder_is_replaced_at_once(store, holder):
    dead = holder(30)
    dead.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE
    with Lease(store, 30) as lease:
        lease.check()


def test_a_second_writer_is_refused_with_the_name_of_the_holder(store):
    with Lease(store, 30) as first:
        with pytest.raises(LeaseHeld, match=r"process \d+ on .* valid for (30|29) s") as caught, Lease(store, 30):
            pass
        assert caught.value.exit_status == 3
        assert "\n" not in str(caught.value)
        first.check()


def test_a_writer_renews_its_lease(store):
    with Lease(store, 1.2) as lease:
        time.sleep(2)
        with pytest.raises(LeaseHeld), Lease(store, 1.2):
            pass
        lease.check()


def test_a_writer_goes_on_renewing_after_its_store_was_away_for_a_moment(store):
    def await_a_beat() -> None:
        def epoch() -> int:
            return store.dataset("lease").to_table()["epoch"][0].as_py()

        before, until = epoch(), time.monotonic() + 20
        while epoch() == before:
            assert time.monotonic() < until, "nobody renews it any more"
            time.sleep(0.02)

    table, away = Path(store.path("lease")), Path(store.path("away"))
    with Lease(store, 1.2) as lease:
        await_a_beat()
        table.rename(away)
        time.sleep(1)
        away.rename(table)
        await_a_beat()
        lease.check()


def test_the_lease_of_a_killed_process_on_this_host_is_free_at_once(store, holder):
    process = holder(3600)
    with pytest.raises(LeaseHeld, match=f"process {process.pid} "), Lease(store, 30):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Lease(store, 30) as lease:
        lease.check()


def test_where_the_system_names_no_boot_a_killed_process_holds_its_lease_until_it_expires(store, holder, monkeypatch):
    """Its process id may mean another process: on another machine of this name it may live."""
    fenced = []
    monkeypatch.setattr(store, "fence", lambda: fenced.append(True))
    monkeypatch.setenv(LACKS, "process-identity")
    process = holder(1.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(LeaseHeld, match=f"process {process.pid} on {socket.gethostname()}, "), Lease(store, 30):
        pass
    time.sleep(1.3)
    with Lease(store, 30) as lease:
        lease.check()
    # It may live and be about to commit.
    assert fenced == [True]


def test_an_interrupted_fence_is_completed_by_the_next_holder(bare, cluster, monkeypatch):
    """The first holder is between its check and its commit; the second is stopped before it has fenced."""
    bare.ingest_vectors(cluster(20))
    first, second, third = (bare.store() for _ in range(3))

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(second, "fence", interrupted)
    with Lease(first, 1.1) as lease, ExitStack() as commit:
        dataset = commit.enter_context(first.writing("contents"))
        lease._stop.set()  # as a stopped process renews nothing
        time.sleep(1.3)
        with pytest.raises(KeyboardInterrupt), Lease(second):
            pass
        with Lease(third):
            pass
        with pytest.raises(OSError, match="incompatible with concurrent transaction Restore"):
            dataset.delete("content_id = 'v003'")
    assert len(bare.rows()) == 20


CONTAINED = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture
def contained():
    """The beginning of a command that runs in namespaces of its own, as in a container."""
    if not shutil.which("unshare") or subprocess.run([*CONTAINED, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces of processes here")
    return CONTAINED


def test_a_process_in_a_container_with_the_same_host_name_is_not_taken_for_dead(store, holder, contained):
    holder(30.0, within=contained)  # there it is process 1, which is another one here
    with pytest.raises(LeaseHeld, match="process 1 on"), Lease(store):
        pass


def test_a_writer_that_does_not_renew_loses_its_lease_and_fails(store, holder):
    process = holder(2)
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(LeaseHeld), Lease(store, 30):
            pass
        time.sleep(2.2)
        with Lease(store, 30) as lease:
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert "lost: another run took over" in process.stdout.readline()
            process.wait(timeout=20)
            # Its end did not release a lease that it no longer held.
            lease.check()
            with pytest.raises(LeaseHeld), Lease(store, 30):
                pass
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_run_that_lost_its_lease_commits_nothing_further(bare, cluster):
    vectors = cluster(24)
    config = bare.settings(clip=None, run={"block_rows": 4, "wave_rows": 8, "wave_vectors": 8})

    def taken_over(wave: int) -> None:
        row = bare.store().dataset("lease").to_table().to_pylist()[0]
        row |= {"epoch": row["epoch"] + 1, "holder": "another"}
        bare.store().upsert("lease", _table(bare, row), key="name")

    with pytest.raises(LeaseLost):
        bare.ingest_vectors(vectors, config=config, after_wave=taken_over)
    assert len(bare.rows()) == 8


def _table(workspace, row):
    import pyarrow as pa

    return pa.Table.from_pylist([row], schema=workspace.store().dataset("lease").schema)


def test_a_second_ingest_is_refused_while_one_runs(bare, cluster):
    refused = []

    def meanwhile(wave: int) -> None:
        with pytest.raises(LeaseHeld):
            bare.ingest_vectors({"other": [1.0] * 8})
        refused.append(wave)

    # The one that runs lists its own file: the other writes another under the same name only after it was read.
    bare.ingest_vectors(cluster(8), after_wave=meanwhile)
    assert refused == [1]
    assert bare.rows().keys() == cluster(8).keys()
