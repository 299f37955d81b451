"""Trials and trainings in parallel, in processes of one thread each: their results do not depend on the number of
processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait as wait_for_any
from typing import Any, TypeVar

import torch

from fuseid.core.errors import FuseidError
from fuseid.core.signals import held_back
from fuseid.pipelines.evaluation.sasrec import ItemTrial, run_sasrec, sasrec_setting
from fuseid.pipelines.evaluation.trial import Data, Outcome, Trial, run_trial
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.stopping import Stop, stoppable

_POLL_SECONDS = 0.5

Job = TypeVar("Job")
Result = TypeVar("Result")
# How one job is done: data, job, and what is called with the number of steps done -> result.
Run = Callable[[Data, Job, Callable[[int], None]], Result]


def run_trials(data: Data, trials: Sequence[Trial | ItemTrial], workers: int, progress: Progress) -> list[Outcome]:
    """One outcome for each trial, in their order: see `run_jobs`."""
    items = sasrec_setting(data.setting).steps
    steps = [items if isinstance(trial, ItemTrial) else data.setting.steps for trial in trials]
    return run_jobs(_run_any, data, trials, steps, workers, progress, "train")


def _run_any(data: Data, trial: Trial | ItemTrial, advance: Callable[[int], None]) -> Outcome:
    return run_sasrec(data, trial, advance) if isinstance(trial, ItemTrial) else run_trial(data, trial, advance)


def run_jobs(
    run: Run[Job, Result],
    data: Data,
    jobs: Sequence[Job],
    steps: Sequence[int],
    workers: int,
    progress: Progress,
    stage: str,
) -> list[Result]:
    """One result for each job, in their order. With one worker they run in this process.

    run: a function of a module, which the processes import. steps: of each job, for the progress of `stage`.

    However it ends, none of its processes is left. With several processes, raises Stopped after a signal, and
    FuseidError if a process was killed.
    """
    progress.begin(stage, sum(steps))
    if workers == 1:
        with one_thread():
            return [run(data, job, lambda done: progress.advance(stage, done)) for job in jobs]
    context = multiprocessing.get_context("spawn")
    # No lock: each trial writes its own counter, and a process that dies could leave a lock held.
    steps_T = context.RawArray("q", len(jobs))
    others = set(multiprocessing.active_children())
    with stoppable(0) as stop:
        pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (steps_T,))
        try:
            # The first process would start it otherwise, and starting it unblocks both signals.
            resource_tracker.ensure_running()
            with held_back():
                # The data is sent with each job, not with the start of a process: start data is written before the
                # process reads it, and if the process dies, more than a pipe holds would wait for ever.
                futures = [pool.submit(_run, run, data, number, job) for number, job in enumerate(jobs)]
            _follow(futures, steps_T, progress, stage, stop)
            return [future.result() for future in futures]
        except BaseException as error:
            # The other jobs are not needed any more. The pool would end them by a signal that they have blocked.
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            if isinstance(error, BrokenProcessPool):
                cause = "a process that trained a model was killed, perhaps for want of memory; free some"
                raise FuseidError(cause) from None
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _follow(futures: Sequence[Future[Any]], steps_T: Sequence[int], progress: Progress, stage: str, stop: Stop) -> None:
    """Reports the progress until all jobs are done; raises what one of them raised."""
    running, shown = set(futures), 0
    while running:
        done, running = wait(running, _POLL_SECONDS, FIRST_EXCEPTION)
        if stop.requested:
            trained = f"{len(futures) - len(running)} of {len(futures)} models were trained"
            raise stop.error(f"{trained}, and none is kept; run the same command again to start over")
        for future in done:
            future.result()
        now = sum(steps_T)
        progress.advance(stage, now - shown)
        shown = now


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_steps_T: Any


def _begin(steps_T: Any) -> None:
    """Prepares a process for jobs."""
    global _steps_T
    _steps_T = steps_T
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


def _run(run: Run[Job, Result], data: Data, number: int, job: Job) -> Result:
    def advance(done: int) -> None:
        _steps_T[number] += done

    return run(data, job, advance)
