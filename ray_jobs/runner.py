"""The Ray runner: the same steps in actors of a cluster."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import chain

import pyarrow as pa
import ray

from fuseid.core.config import Config
from fuseid.pipelines.ahead import Ahead
from fuseid.pipelines.steps import EncodeStep, load_encoders
from fuseid.ray_jobs.flow import Flow
from fuseid.ray_jobs.sizing import Sizes, cluster_sizes

# Blocks that are planned before a decoder is free for them.
_PLANNED_AHEAD = 4


class RayRunner:
    """Decoding and encoding run in actors, which load what they need once; this process plans and collects."""

    name = "ray"

    def __init__(self, load: Callable[[Config], EncodeStep] = load_encoders, sizes: Sizes | None = None) -> None:
        self._load = load
        self._sizes = sizes
        self._flow: Flow | None = None

    def stream(self, work: Iterable[pa.RecordBatch], config: Config) -> Iterator[pa.RecordBatch]:
        batches = iter(work)
        first = next(batches, None)
        if first is None:  # no cluster and no model for nothing
            return
        connect()
        with (
            Ahead(chain([first], batches), room=_PLANNED_AHEAD, name="fuseid-plan") as planned,
            Flow(config, partial(self._measure, config), self._load) as self._flow,
        ):
            yield from self._flow.run(planned)

    def _measure(self, config: Config) -> Sizes:
        return self._sizes or cluster_sizes(config.decode.workers, config.run.encoders)

    def halt(self) -> None:
        if self._flow is not None:
            self._flow.halted = True


def connect() -> None:
    """Joins the cluster that RAY_ADDRESS names, else starts one on this machine; harmless when repeated.

    The kernel ends a cluster with the thread that started it. Called from another than the main one, which may end long
    before the process, that is a thread of its own, which never does.
    """
    if ray.is_initialized():
        return
    if threading.current_thread() is threading.main_thread():
        _start()
        return
    started: Future[None] = Future()

    def start_and_stay() -> None:
        try:
            _start()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        threading.Event().wait()

    threading.Thread(target=start_and_stay, name="fuseid-ray", daemon=True).start()
    started.result()


def _start() -> None:
    # Started from another thread than the main one, Ray says that it leaves SIGTERM alone; so it should.
    logging.getLogger("ray").setLevel(logging.ERROR)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.ERROR)
        return
    # A cluster of our own lives as long as this process: its C++ notes would only disturb the progress bars.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with warnings.catch_warnings(), _silent_stderr():
        # Ray forks and at once executes another program, which Lance's and LanceDB's fork warnings do not mean.
        warnings.filterwarnings("ignore", message=".*fork.*")
        ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Ray's C++ says on file descriptor 2 that it was told to be quiet; what goes wrong comes as an exception."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
