"""The lease: one writer to a database at a time, also from several machines.

The lease is a row with an epoch, taken by a conditional upsert: of two writers that have read the same epoch, Lance
commits one, and the condition of the other no longer holds. So it works wherever Lance works. The holder renews the
row; it loses the lease if it has not renewed it before the expiry, or if its process on this machine is dead.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from datetime import timedelta
from types import TracebackType

import psutil
import pyarrow as pa

from fuseid.core.errors import LeaseHeld, LeaseLost
from fuseid.core.faults import reached
from fuseid.core.platform import process_identity
from fuseid.core.schemas import LEASE
from fuseid.pipelines.jobs.stopping import ending
from fuseid.pipelines.store.store import Store

_NAME = "writer"
# Key in the configuration of the table: whether the process that takes the lease next has to call `Store.fence`.
_OWED = "fence_owed"


class Lease:
    """A context manager; inside it the store calls `check()` before every commit.

    A process that takes the lease from a holder that may still be alive first fences that holder off: if the holder was
    paused (SIGSTOP, a paused machine) between its check and its commit, the commit fails when the holder continues.
    """

    def __init__(self, store: Store, seconds: float = 30.0) -> None:
        self._store = store
        self._seconds = seconds
        self.holder = uuid.uuid4().hex
        self._epoch = 0
        self._stop = threading.Event()
        self._lost = False
        self._renewal: threading.Thread | None = None

    def check_free(self) -> dict | None:
        """The row of the lease, None if it was never taken. Raises LeaseHeld while another process holds it."""
        row = self._read()
        if row is not None and row["holder"] and not _is_free(row):
            left = max(0.0, row["expires_at"] - time.time())
            raise LeaseHeld(
                f"another run is writing to {self._store.uri}: process {row['pid']} on {_host_name(row)}, "
                f"its lease is valid for {left:.0f} s; wait for it or stop it"
            )
        return row

    def live(self) -> dict | None:
        """The row of the process that holds the lease now, None if none does: each that held it has ended, or has not
        renewed it in time."""
        row = self._read()
        return row if row is not None and row["holder"] and not _is_free(row) else None

    def __enter__(self) -> Lease:
        row = self.check_free()
        self._epoch = 1 if row is None else row["epoch"] + 1
        # The former holder may be alive and about to commit. This is recorded first, in case this process dies.
        may_live = row["holder"] and not _is_dead(row) if row is not None else self._store.has_contents()
        if may_live:
            self._store.configure("lease", {_OWED: True})
        try:
            if not self._swap(self.holder):
                raise LeaseHeld(f"another run has just begun to write to {self._store.uri}; wait for it")
            self._renewal = threading.Thread(target=self._renew, name="fuseid-lease", daemon=True)
            self._renewal.start()
            self._store.writer = self
            if self._store.configured("lease", _OWED):
                reached("fence.begun")
                self._store.fence()
                self._store.configure("lease", {_OWED: False})
            reached("lease.taken")
        except BaseException:
            # For example a signal: __exit__ will not be called.
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
            if self._renewal is not None:
                self._renewal.join()
            if not self._lost:
                reached("lease.releasing")
                self._epoch += 1
                self._swap("")
                self._store.dataset("lease").cleanup_old_versions(older_than=timedelta(seconds=1))

    def check(self) -> None:
        """Raises LeaseLost once another process holds the lease. Called before every commit."""
        row = self._read()
        if self._lost or row is None or row["holder"] != self.holder:
            self._lost = True
            raise LeaseLost(f"another run took over {self._store.uri} while this one was silent; run again")

    def _read(self) -> dict | None:
        rows = self._store.dataset("lease").to_table().to_pylist()
        return next((row for row in rows if row["name"] == _NAME), None)

    def _swap(self, holder: str) -> bool:
        """Compare and swap: succeeds only if the stored epoch is still the one before `self._epoch`."""
        me = psutil.Process()
        row = {
            "name": _NAME, "epoch": self._epoch, "holder": holder, "host": _host(), "pid": os.getpid(),
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
                # The store may be unreachable for a moment: the next renewal tries again, and check() decides.
                self._epoch -= 1


def _host() -> str:
    """Where a process id means the same as in this process: host name, boot and container namespace. A host name alone
    is not enough: containers often share one, and so do machines made from one image."""
    return "/".join(filter(None, [socket.gethostname(), process_identity()]))


def _host_name(row: dict) -> str:
    return row["host"].partition("/")[0]


def _is_free(row: dict) -> bool:
    return row["expires_at"] < time.time() or _is_dead(row)


def _is_dead(row: dict) -> bool:
    """Whether the holder's process is known to have ended. About a process on another host nothing is known, and about
    none at all where the system does not say which host this is."""
    if process_identity() is None or row["host"] != _host():
        return False
    try:
        process = psutil.Process(row["pid"])
        # A zombie has ended; its parent has only not read its exit status.
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return is_dead or abs(process.create_time() - row["process_start"]) > 1.0
    except psutil.NoSuchProcess:
        return True
