"""Trials side by side, in processes of one thread each: their figures do not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from fuseid.core.errors import FuseidError
from fuseid.pipelines.evaluation.trial import Data, Outcome, Trial, run_trial

if TYPE_CHECKING:
    # Ingest brings all encoders along, which a process that trains has no use for.
    from fuseid.pipelines.ingest import Progress

_POLL_SECONDS = 0.5
_STAGE = "train"


def run_trials(data: Data, trials: Sequence[Trial], workers: int, progress: Progress) -> list[Outcome]:
    """One outcome for each trial, in their order. With one worker they run in this process.

    Raises FuseidError where a process was killed.
    """
    progress.begin(_STAGE, data.setting.steps * len(trials))
    if workers == 1:
        with one_thread():
            return [run_trial(data, trial, lambda steps: progress.advance(_STAGE, steps)) for trial in trials]
    context = multiprocessing.get_context("spawn")
    steps, stop = context.Value("q", 0), context.Event()
    shown = 0
    pool = ProcessPoolExecutor(min(workers, len(trials)), context, _begin, (data, steps, stop, os.getpid()))
    try:
        futures = [pool.submit(_run, trial) for trial in trials]
        running = set(futures)
        while running:
            done, running = wait(running, _POLL_SECONDS, FIRST_EXCEPTION)
            for future in done:
                future.result()
            now = steps.value
            progress.advance(_STAGE, now - shown)
            shown = now
        return [future.result() for future in futures]
    except BrokenProcessPool:
        raise FuseidError("a process that trained a model was killed, perhaps for want of memory; free some") from None
    finally:
        # Where something went wrong, what still runs ends at its next step.
        stop.set()
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Stopped(Exception):
    """Ends a trial whose outcome nobody waits for."""


_here: tuple[Data, Callable[[int], None]]


def _begin(data: Data, steps: Any, stop: Any, parent: int) -> None:
    """Makes a process ready for trials. Ctrl-C is its parent's business."""
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def told(done: int) -> None:
        if stop.is_set() or os.getppid() != parent:
            raise _Stopped
        with steps.get_lock():
            steps.value += done

    _here = (data, told)


def _run(trial: Trial) -> Outcome:
    data, told = _here
    return run_trial(data, trial, told)
