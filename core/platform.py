"""What the operating system does for fuseid, and what stands in where it cannot: the only module that asks.

Linux has all of it, macOS a part. docs/platforms.md has the table; every run of a system that lacks something has a
note that says so. `FUSEID_LACKS`, names of `FACILITIES` separated by commas, makes a process and those that it starts
do without them, so that each substitute can be tried on Linux.
"""

from __future__ import annotations

import ctypes
import fcntl
import math
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import psutil

# What Linux alone has -> what a run cannot promise without it.
FACILITIES = {
    "parent-death-signal": "the processes of a command that is killed by SIGKILL end up to a second later",
    "address-space-limit": "`decode.memory_bytes` can be exceeded for a twentieth of a second",
    "process-identity": "a database is free only when the lease of a killed run has expired",
}
LACKS = "FUSEID_LACKS"

_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1
# How often a process looks whether its parent is there.
_LOOK_SECONDS = 0.5
# A timer of macOS takes no more.
_LONGEST_SECONDS = 1e8
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_BOOT, _PROCESS_NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def has(facility: str) -> bool:
    """facility: of `FACILITIES`."""
    return _LINUX and facility not in lacks()


def lacks() -> set[str]:
    """What this process has to do without. Raises ValueError if the environment names an unknown facility."""
    missing = set(filter(None, os.environ.get(LACKS, "").split(",")))
    if unknown := missing - FACILITIES.keys():
        raise ValueError(f"{LACKS} names {', '.join(sorted(unknown))}; there are {', '.join(FACILITIES)}")
    return missing if _LINUX else set(FACILITIES)


def note() -> str | None:
    """For the summary of a run: what it cannot promise on this system."""
    weaker = [promise for facility, promise in FACILITIES.items() if not has(facility)]
    return f"this system promises less than Linux (docs/platforms.md): {'; '.join(weaker)}" if weaker else None


def usable_cores() -> int:
    """How many cores this process may use: those that it is bound to, and no more than the quota of its container gives
    it, rounded up; of macOS, which has neither, all."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cores_of_quota(_CONTROL_GROUPS, _control_group()) if _LINUX else None
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def _control_group() -> str:
    """The path of this process's control group, of version 2; `/` inside most containers."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "/"
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")


def _cores_of_quota(root: Path, group: str) -> float | None:
    """The smallest quota of a control group and those that it is in; None without any."""
    quotas = []
    folder = root / group.lstrip("/")
    for each in (folder, *folder.parents):
        try:
            allowed, period = (each / "cpu.max").read_text(encoding="ascii").split()
            quotas.append(int(allowed) / int(period))
        except (OSError, ValueError, ZeroDivisionError):  # no such group is seen from here, or `max`
            pass
        if each == root:
            break
    return min(quotas, default=None)


def end_with_parent(parent: int) -> None:
    """From now on this process is killed when its parent ends, however that ends. parent: its process id; if it is not
    this process's parent any more, this process ends at once.

    With a parent-death signal the kernel does it, when the thread ends that has started this process. Else a thread
    looks twice a second; it cannot while a C library holds the interpreter's lock, for which `end_if_stuck` is there.
    """
    if has("parent-death-signal"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_await_end_of, args=(parent,), name="fuseid-parent", daemon=True).start()
    if os.getppid() != parent:  # it died before the lines above took effect
        os._exit(1)


def _await_end_of(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def end_if_stuck(seconds: float) -> None:
    """The kernel ends this process after so many seconds, whatever it does then, unless this is called again before; 0
    cancels it. Does nothing where the kernel would notice the death of the parent."""
    if not has("parent-death-signal"):
        signal.setitimer(signal.ITIMER_REAL, min(seconds, _LONGEST_SECONDS))


def widen_pipe(pipe: int, size: int) -> None:
    """Gives a pipe a buffer of `size` bytes; where that cannot be set, or the user's quota of pipe memory is used up,
    it stays as it is: slower, but correct."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            return


def limit_address_space(more: int | None) -> None:
    """Limits the address space of this process to what it has now plus `more` bytes; None lifts the limit. Where there
    is no such limit, the parent has to watch `resident_bytes`."""
    if has("address-space-limit"):
        limit = resource.RLIM_INFINITY if more is None else psutil.Process().memory_info().vms + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def resident_bytes(process: int) -> int:
    """The memory that a process of this user has in use; 0 if it has ended."""
    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return 0


def process_identity() -> str | None:
    """Where a process id means the same as in this process: the boot and the container's namespace. None if the system
    does not say; then nothing can be known about a process that has another parent."""
    if not has("process-identity"):
        return None
    try:
        return f"{_BOOT.read_text().strip()}/{os.readlink(_PROCESS_NAMESPACE)}"
    except OSError:
        return None


def core_seconds_of_thread(number: int) -> float | None:
    """How long a thread of this process, by the system's number of it, was on a core; None where the system does not
    say, and for one that has ended."""
    try:
        return int(Path(f"/proc/self/task/{number}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


def name_of_open_file(descriptor: int) -> str | None:
    """A name by which a library can open exactly this file; None where there is no such name."""
    return f"/proc/self/fd/{descriptor}" if _LINUX else None
