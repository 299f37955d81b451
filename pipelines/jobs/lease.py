"""The lease: one writer to a database at a time, also from several machines.

A row with an epoch, taken by a conditional upsert: of two writers that saw the same epoch, Lance commits one and the
other's condition no longer holds, so it works wherever Lance does. The holder renews it; a holder that is silent past
the expiry, or whose process is dead here, has lost it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import psutil
import pyarrow as pa

from fuseid.core.errors import LeaseHeld, LeaseLost
from fuseid.core.faults import reached
from fuseid.core.schemas import LEASE
from fuseid.pipelines.jobs.stopping import ending
from fuseid.pipelines.store.store import Store

_NAME = "writer"
# In the configuration of the table: whoever takes the lease next has to fence.
_OWED = "fence_owed"


class Lease:
    """A context manager; inside it the store asks `check()` before every commit.

    Whoever takes over from a holder that may still live fences it off first: a process that was stopped (SIGSTOP, a
    paused machine) right between its check and its commit finds that commit refused when it goes on.
    """

    def __init__(self, store: Store, seconds: float = 30.0) -> None:
        self._store = store
        self._seconds = seconds
        self.holder = uuid.uuid4().hex
        self._epoch = 0
        self._stop = threading.Event()
        self._lost = False
        self._beat: threading.Thread | None = None

    def check_free(self) -> dict | None:
        """The row of the lease, None where nobody has taken it yet. Raises LeaseHeld while another process holds it."""
        row = self._read()
        if row is not None and row["holder"] and not _is_free(row):
            left = max(0.0, row["expires_at"] - time.time())
            raise LeaseHeld(
                f"another run is writing to {self._store.uri}: process {row['pid']} on {_name(row)}, "
                f"its lease is valid for {left:.0f} s; wait for it or stop it"
            )
        return row

    def __enter__(self) -> Lease:
        row = self.check_free()
        self._epoch = 1 if row is None else row["epoch"] + 1
        # The holder before may live and stand right before a commit. What is noted first outlives a taker that dies.
        may_live = row["holder"] and not _is_dead(row) if row is not None else self._store.has_contents()
        if may_live:
            self._store.configure("lease", {_OWED: True})
        try:
            if not self._swap(self.holder):
                raise LeaseHeld(f"another run has just begun to write to {self._store.uri}; wait for it")
            self._beat = threading.Thread(target=self._renew, name="fuseid-lease", daemon=True)
            self._beat.start()
            self._store.writer = self
            if self._store.configured("lease", _OWED):
                reached("fence.begun")
                self._store.fence()
                self._store.configure("lease", {_OWED: False})
            reached("lease.taken")
        except BaseException:
            # A signal, say: nobody will call __exit__.
            with ending():
                row = self._read()
                if row is not None and row["holder"] == self.holder:
                    self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ending():
            self._store.writer = None
            self._stop.set()
            if self._beat is not None:
                self._beat.join()
            if not self._lost:
                reached("lease.releasing")
                self._epoch += 1
                self._swap("")
                self._store.dataset("lease").cleanup_old_versions(older_than=timedelta(seconds=1))

    def check(self) -> None:
        """Raises LeaseLost once another process holds the lease. Asked before every commit."""
        row = self._read()
        if self._lost or row is None or row["holder"] != self.holder:
            self._lost = True
            raise LeaseLost(f"another run took over {self._store.uri} while this one was silent; run again")

    def _read(self) -> dict | None:
        rows = self._store.dataset("lease").to_table().to_pylist()
        return next((row for row in rows if row["name"] == _NAME), None)

    def _swap(self, holder: str) -> bool:
        """Compare and swap: succeeds only if the stored epoch is still the one before ours."""
        me = psutil.Process()
        row = {
            "name": _NAME, "epoch": self._epoch, "holder": holder, "host": _place(), "pid": os.getpid(),
            "process_start": me.create_time(), "expires_at": time.time() + self._seconds,
        }  # fmt: skip
        merge = self._store.dataset("lease").merge_insert("name")
        merge = merge.when_matched_update_all(f"target.epoch = {self._epoch - 1}").when_not_matched_insert_all()
        done = merge.execute(pa.Table.from_pylist([row], schema=LEASE))
        return done["num_updated_rows"] + done["num_inserted_rows"] == 1

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            self._epoch += 1
            try:
                if not self._swap(self.holder):
                    self._lost = True
                    return
            except Exception:
                # A store that cannot be reached for a moment: the next beat tries again, check() decides.
                self._epoch -= 1


def _place() -> str:
    """Where a process id means what it means to this process: host, boot, namespace of a container. Host names alone
    are often the same for containers, and for machines of one image."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # Linux alone has these
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return "/".join(parts)


def _name(row: dict) -> str:
    return row["host"].partition("/")[0]


def _is_free(row: dict) -> bool:
    return row["expires_at"] < time.time() or _is_dead(row)


def _is_dead(row: dict) -> bool:
    """Whether the holder's process is known to have ended; of one on another host nothing is known."""
    if row["host"] != _place():
        return False
    try:
        process = psutil.Process(row["pid"])
        # A zombie is dead, whoever fails to ask for its exit status.
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return is_dead or abs(process.create_time() - row["process_start"]) > 1.0
    except psutil.NoSuchProcess:
        return True
