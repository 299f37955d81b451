"""One child process of the decode pool: starts it, exchanges messages with a deadline, kills it, replaces it."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO

import numpy as np

from fuseid.core import platform
from fuseid.core.config import DecodeConfig
from fuseid.core.costs import ChildCoreSeconds
from fuseid.core.errors import DecodeCrashed, ItemError, OutOfMemory
from fuseid.core.records import Decoded
from fuseid.core.signals import held_back
from fuseid.encoders.decode_wire import LENGTH, MAX_HEADER_BYTES, decoded_of, error_of, out_of_memory, pack

# One reduced frame fits, so the child writes it at once and continues with the next item.
_PIPE_BYTES = 1 << 20

# How often the memory of a child is looked at, where the system does not limit its address space.
_LOOK_SECONDS = 0.05

# Time to start Python and its libraries on a busy machine; it does not count against the first item's timeout.
_START_SECONDS = 120.0

# Threads started by a child's libraries would use address space and compete for cores with the other children.
_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}


class ChildTimedOut(Exception):
    """The child did not answer in time and was killed."""


class ChildDied(Exception):
    """The child ended before its answer was complete."""

    def __init__(self, return_code: int, last_output: str, too_large: bool = False) -> None:
        """too_large: whether this process has killed it for its memory."""
        super().__init__(f"decoding process ended with {return_code}: {last_output}")
        self.return_code, self.last_output, self._too_large = return_code, last_output, too_large

    @property
    def is_from_outside(self) -> bool:
        """Whether neither its item nor this process has ended it: the kernel has, of a machine that is short of memory,
        or by its timer (`end_if_stuck`) while this process was paused, or somebody else."""
        return self.return_code in (-signal.SIGKILL, -signal.SIGALRM) and not self._too_large

    def as_item_error(self, path: str, config: DecodeConfig) -> ItemError:
        """OutOfMemory if the output or SIGKILL says so (if it was not sent by this process, the kernel was short of
        memory), else DecodeCrashed."""
        if self._too_large:
            return out_of_memory(path, config)
        how = f"exit status {self.return_code}"
        if self.return_code < 0:
            how = f"signal {signal.Signals(-self.return_code).name}"
        words = f": {self.last_output}" if self.last_output else ""
        starved = any(word in self.last_output for word in ("bad_alloc", "MemoryError", "Cannot allocate memory"))
        if self.return_code == -signal.SIGKILL or starved:
            limit = f"decode.memory_bytes ({config.memory_bytes >> 20} MiB)"
            return OutOfMemory(f"decoding {path!r} ran out of memory, the limit is {limit} ({how}{words})")
        return DecodeCrashed(f"the decoding process died on {path!r} by {how}{words}")


class _ChildTooLarge(Exception):
    """The child uses more memory than an item may."""


class DecodeProcess:
    """A child that is started when first needed. One item at a time; `kill` may come from another thread.

    Where the child cannot limit its address space, this process looks at its memory while it waits for an answer.
    """

    def __init__(self, config: DecodeConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._items = 0
        self.cores = ChildCoreSeconds()
        self._most_bytes: int | None = None  # of resident memory, where it is watched
        self._lock = threading.Lock()  # guards starting against `kill`
        self._killed_for_good = False

    @property
    def is_fresh(self) -> bool:
        """Whether the next item will be the first one of its child."""
        return self._process is None or self._items in (0, self._config.items_per_process)

    def decode(self, path: str, kind: str) -> Decoded | ItemError:
        """The child's answer. Raises ChildTimedOut or ChildDied; the next call starts a new child."""
        if self._items >= self._config.items_per_process:
            self.close()
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        self._items += 1
        deadline = time.monotonic() + self._config.timeout_seconds
        try:
            process.stdin.write(pack({"path": path, "kind": kind}))
            answer = self._read_answer(process.stdout.fileno(), deadline)
            self.cores.update()
            return answer
        except ChildTimedOut:
            self.close()
            raise
        except _ChildTooLarge:
            self.close()
            raise ChildDied(-signal.SIGKILL, "", too_large=True) from None
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            raise self._collect_death() from None

    def kill(self) -> None:
        """Ends the child at once and permanently; a thread that waits for it gets ChildDied."""
        with self._lock:
            self._killed_for_good = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Ends the child and closes its pipes. Only the thread that uses the child may call it."""
        process, self._process, self._items, self._most_bytes = self._process, None, 0, None
        if process is not None:
            self.cores.update()
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            process.wait()
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def _start(self, again: bool = True) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **_SINGLE_THREADED}
        # Inside a Ray worker, the package may come from a path that only this process has in sys.path.
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        with self._lock:
            if self._killed_for_good:
                raise ChildDied(-signal.SIGKILL, "the pool is closed")
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`, it outlives this call)
            # -P: the working directory must not come first in sys.path; a folder there may have the name of a library.
            with held_back():
                self._process = process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "fuseid.encoders.decode_child", str(os.getpid())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._stderr,
                    bufsize=0,
                    env=environment,
                )
        self.cores.follow(process.pid)
        assert process.stdin is not None
        assert process.stdout is not None
        for pipe in (process.stdin, process.stdout):
            platform.widen_pipe(pipe.fileno(), _PIPE_BYTES)
        os.set_blocking(process.stdout.fileno(), False)
        config = self._config.model_dump_json().encode()
        try:
            process.stdin.write(LENGTH.pack(len(config)) + config)
            self._read_header(process.stdout.fileno(), time.monotonic() + _START_SECONDS)
        except (ChildTimedOut, EOFError, OSError, ValueError) as error:
            death = self._collect_death()
            if self._killed_for_good:
                raise death from None
            if again and death.is_from_outside:
                return self._start(again=False)
            # Not an ItemError: that would reject every item of the catalogue, one after the other.
            raise RuntimeError(f"cannot start a decoding process: {death} {type(error).__name__}") from None
        if not platform.has("address-space-limit"):
            self._most_bytes = platform.resident_bytes(process.pid) + self._config.memory_bytes
        return process

    def _collect_death(self) -> ChildDied:
        """Collects a dead child's return code and the last lines of its error output."""
        process, stderr = self._process, self._stderr
        assert process is not None
        assert stderr is not None
        self.cores.update()
        try:
            code = process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # it is alive, but its answers are not valid
            process.kill()
            process.wait()
            code = 1
        stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4096))
        lines = stderr.read().decode("utf-8", "replace").strip().splitlines()
        death = ChildDied(code, " | ".join(line.strip() for line in lines[-2:])[-500:])
        self.close()
        return death

    def _read_answer(self, pipe: int, deadline: float) -> Decoded | ItemError:
        header = self._read_header(pipe, deadline)
        if "error" in header:
            return error_of(header)
        # A child under control of a hostile file must not make this process allocate without limit.
        limit = 3 * self._config.sampling.frames * self._config.long_side**2
        if math.prod(header["shape"]) > limit or header["thumbnail_bytes"] > MAX_HEADER_BYTES:
            raise ValueError(f"answer announces frames of {header['shape']}")
        frames = np.empty(header["shape"], np.uint8)
        self._read_into(pipe, frames.data.cast("B"), deadline)
        thumbnail = bytearray(header["thumbnail_bytes"])
        self._read_into(pipe, memoryview(thumbnail), deadline)
        return decoded_of(header, frames, bytes(thumbnail))

    def _read_header(self, pipe: int, deadline: float) -> dict:
        length = bytearray(LENGTH.size)
        self._read_into(pipe, memoryview(length), deadline)
        (count,) = LENGTH.unpack(length)
        if count > MAX_HEADER_BYTES:
            raise ValueError(f"header of {count} bytes")
        body = bytearray(count)
        self._read_into(pipe, memoryview(body), deadline)
        return json.loads(body)

    def _read_into(self, pipe: int, view: memoryview, deadline: float) -> None:
        """Fills `view` from a non-blocking pipe. Raises EOFError at its end, ChildTimedOut past `deadline`, and
        _ChildTooLarge for a child that uses too much memory meanwhile."""
        poll = None
        while view:
            try:
                count = os.readv(pipe, [view])
            except BlockingIOError:
                if poll is None:
                    poll = select.poll()
                    poll.register(pipe, select.POLLIN)
                self._await(poll, deadline)
                continue
            if count == 0:
                raise EOFError
            view = view[count:]

    def _await(self, poll: select.poll, deadline: float) -> None:
        most = self._most_bytes
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ChildTimedOut
            if poll.poll(1000 * (left if most is None else min(left, _LOOK_SECONDS))):
                return
            process = self._process
            if most is not None and process is not None and platform.resident_bytes(process.pid) > most:
                raise _ChildTooLarge
