"""The runner on Ray: the same steps, in actors of a cluster."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, cast

import pyarrow as pa
import ray
from ray._private import services, utils
from ray.exceptions import RayError, RayTaskError

from fuseid.core import platform
from fuseid.core.config import Config
from fuseid.core.errors import BadInput, FuseidError, NotReady
from fuseid.core.reasons import reason
from fuseid.core.signals import SIGNALS, held_back
from fuseid.pipelines.ingestion.bottleneck import Capacity
from fuseid.pipelines.ingestion.steps import EncodeStep, load_encoders
from fuseid.pipelines.streams.prefetch import Prefetch
from fuseid.ray_jobs.flow import Flow
from fuseid.ray_jobs.pool import cause
from fuseid.ray_jobs.sizing import Sizes, cluster_sizes

# Blocks that are planned before a decoder is free for them.
_PLANNED_AHEAD = 4
# Batches of one part of a source of vectors that wait to be fetched.
_BATCHES_AHEAD = 2
# How long a cluster has to accept a connection. Ray itself would wait for minutes.
_ANSWER_SECONDS = 10
_REMEDY = "start a cluster, or unset RAY_ADDRESS to run on this machine"
# How long reading waits at most before it checks whether it was halted.
_POLL_SECONDS = 0.2


class RayRunner:
    """Decodes and encodes in actors, which load models once; this process plans batches and collects results."""

    name = "ray"

    def __init__(self, load: Callable[[Config], EncodeStep] = load_encoders, sizes: Sizes | None = None) -> None:
        self._load = load
        self._sizes = sizes
        self._flow: Flow | None = None
        self._readers = 0
        self._halted = False

    def stream(self, work: Iterable[pa.RecordBatch], config: Config) -> Iterator[pa.RecordBatch]:
        batches = iter(work)
        first = next(batches, None)
        if first is None:  # nothing to do: neither a cluster nor a model is needed
            return
        connect()
        with (
            Prefetch(chain([first], batches), room=_PLANNED_AHEAD, name="fuseid-plan") as planned,
            Flow(config, partial(self._measure, config), self._load) as self._flow,
        ):
            self._flow.halted = self._halted
            yield from self._flow.run(planned)

    def read(
        self, function: Callable[..., Iterator[pa.RecordBatch]], parts: Iterable[Any], *arguments: Any
    ) -> Iterator[pa.RecordBatch]:
        waiting = iter(parts)
        running: deque[Any] = deque()
        connect()
        remote: Any = ray.remote(function)
        task = remote.options(num_returns="streaming", _generator_backpressure_num_objects=_BATCHES_AHEAD)
        most = max(2, int(ray.cluster_resources().get("CPU", 1)))
        self._readers = most
        try:
            while not self._halted:
                running += (task.remote(part, *arguments) for part in islice(waiting, most - len(running)))
                if not running:
                    return
                # `next` would wait for the batch, however long it takes.
                ready, _ = ray.wait([running[0]], timeout=_POLL_SECONDS)
                if not ready:
                    continue
                if (ref := next(running[0], None)) is None:
                    running.popleft()
                else:
                    yield ray.get(ref)
        except RayTaskError as error:
            raise cause(error) from None
        except RayError as error:
            raise FuseidError(f"a worker that read vectors died several times: {reason(error)}") from None
        finally:
            for each in running:
                ray.cancel(each, force=False)

    def _measure(self, config: Config) -> Sizes:
        return self._sizes or cluster_sizes(config.decode.workers, config.run.encoders)

    def capacity(self) -> Capacity | None:
        try:
            nodes = sum(bool(node["Alive"] and node["Resources"].get("CPU")) for node in ray.nodes())
            cores = int(ray.cluster_resources().get("CPU", 1))
        except (RayError, RuntimeError, OSError):  # nothing was done, or the cluster is gone
            return None
        if self._flow is None:
            return Capacity(0, self._readers, 0, cores, nodes) if self._readers else None
        decoders, encoders = self._flow.decoders.most_ready, self._flow.encoders.most_ready
        return Capacity(decoders, decoders, encoders, cores, nodes) if decoders and encoders else None

    def halt(self) -> None:
        self._halted = True
        _silence.lift()
        if self._flow is not None:
            self._flow.halted = True


def connect() -> None:
    """Connects to the cluster that RAY_ADDRESS names, else starts one on this machine. May be called more than once.

    It does so in a thread that never ends: the kernel ends a cluster together with the thread that has started it, and
    in the main thread Ray would install its own handler of SIGTERM. Raises NotReady if that cluster does not answer.
    """
    if ray.is_initialized():
        return
    if address := os.environ.get("RAY_ADDRESS"):
        check_answers(address)
    started: Future[None] = Future()

    def start_and_stay() -> None:
        try:
            with _silence, _handlers_kept():
                _start()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        threading.Event().wait()

    threading.Thread(target=start_and_stay, name="fuseid-ray", daemon=True).start()
    try:
        started.result()
    except BaseException:
        _silence.lift()
        raise


def check_answers(address: str) -> None:
    """address: `auto`, `local`, `HOST:PORT` or `ray://HOST:PORT`.

    Raises BadInput for another one, NotReady if nothing listens there.
    """
    place = address.removeprefix("ray://")
    if ":" not in place:
        return
    host, _, port = place.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise BadInput(f"RAY_ADDRESS is HOST:PORT or ray://HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except OSError as error:
        raise NotReady(f"no Ray cluster answers at {address} (RAY_ADDRESS): {reason(error)}; {_REMEDY}") from None


def _start() -> None:
    # Outside the main thread Ray warns that it does not handle SIGTERM, which is what we want.
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(logging_level=logging.ERROR)
        except ValueError as error:
            raise BadInput(f"RAY_ADDRESS is {address!r}: {reason(error)}") from None
        except ConnectionError as error:
            raise NotReady(f"RAY_ADDRESS is {address!r}: {reason(error)}; {_REMEDY}") from None
        return
    # A cluster started here ends with this process; its C++ log messages would only disturb the progress bars.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with warnings.catch_warnings(), _own_sessions():
        # Ray forks and executes another program at once, to which the fork warnings of Lance and LanceDB do not apply.
        warnings.filterwarnings("ignore", message=".*fork.*")
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restores the signal handlers at the end of the block: Ray's C++ replaces Python's by its own, with which SIGTERM
    prints a stack and, by SIGALRM, aborts the process 3 seconds later. Also cancels an alarm that was set meanwhile."""
    # Each holds a `struct sigaction`, whatever its size on this system.
    before = {number: ctypes.create_string_buffer(1024) for number in (*SIGNALS, signal.SIGALRM)}
    libc = ctypes.CDLL(None)
    for number, action in before.items():
        libc.sigaction(number, None, action)
    try:
        yield
    finally:
        for number, action in before.items():
            libc.sigaction(number, action, None)
        signal.alarm(0)


@contextmanager
def _own_sessions() -> Iterator[None]:
    """Inside, Ray's processes start in sessions of their own, so that a signal to the group of this process does not
    end the cluster before Ray or the kernel does.

    Where the kernel would not end them, Ray's own substitute ends the group of this process instead, for which it
    takes this process away from its terminal; `_Reaper` replaces it.
    """
    ray_services, ray_utils = cast(Any, services), cast(Any, utils)
    before = ray_services.ConsolePopen, ray_services.start_reaper, ray_utils.detect_fate_sharing_support
    reaper = None if platform.has("parent-death-signal") else _Reaper()

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = before[0](*arguments, start_new_session=True, **options)
        if reaper is not None:
            reaper.watch(process.pid)
        return process

    ray_services.ConsolePopen = start
    if reaper is not None:
        ray_services.start_reaper = lambda fate_share=None: None
        ray_utils.detect_fate_sharing_support = lambda: False
    try:
        yield
    finally:
        ray_services.ConsolePopen, ray_services.start_reaper, ray_utils.detect_fate_sharing_support = before


class _Reaper:
    """A process that kills others when this one has ended, however it ends: a shell that reads their ids from a pipe,
    which ends with this process. The workers of a cluster end by themselves when its raylet has."""

    def __init__(self) -> None:
        script = 'ids=; while read -r id; do ids="$ids $id"; done; kill -9 $ids'
        nothing = subprocess.DEVNULL
        with held_back():
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=nothing, stderr=nothing, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        _reapers.append(self)

    def watch(self, process: int) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(b"%d\n" % process)


# Their pipes have to stay open.
_reapers: list[_Reaper] = []


class _Silence:
    """Discards what Ray's C++ writes to file descriptor 2 while it starts; errors come as exceptions. `lift` ends it
    early, so that a command that ends meanwhile can print its own message."""

    def __init__(self) -> None:
        self._saved: int | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with self._lock:
            self._saved = os.dup(2)
            os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        self.lift()

    def lift(self) -> None:
        with self._lock:
            if self._saved is not None:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = None


_silence = _Silence()
