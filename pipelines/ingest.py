"""Ingest: writes the items of a source into the store, and gives them IDs once a tokenizer is champion."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fuseid.core.config import Config
from fuseid.core.errors import TooManyRejected
from fuseid.core.surface import command
from fuseid.pipelines.assignment.champion import load_champion
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.ingestion.bottleneck import Meter
from fuseid.pipelines.ingestion.commit import reconcile
from fuseid.pipelines.ingestion.intakes import intake_of, source_notes, unlisted_by
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.ingestion.waves import Intake, Waves
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.jobs.stopping import stoppable
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.passed_over import passed_over_by
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.prefetch import Prefetch

# How long a run waits at most before it checks whether it is to stop.
_POLL_SECONDS = 0.2
# How long a stopped run waits until its unfinished work is closed.
_LEAVE_SECONDS = 1.0


def ingest(
    uri: str,
    source: Source | Vectors,
    config: Config,
    runner: Runner,
    progress: Progress | None = None,
    after_wave: Callable[[int], None] | None = None,
    prune: bool = False,
) -> Run:
    """Removes what the source withdraws, takes in what is new or changed, wave by wave, then gives IDs.

    source: media and captions, which are decoded and encoded; or ready-made vectors, which become columns of items that
    are there, and new items.

    after_wave: called with the number of waves committed so far, after each commit; for tests and for watching.
    prune: afterwards removes items that `source`, the whole catalogue, does not list.
    Raises BadInput for a source that cannot be read, names an id twice or cannot be pruned by, LeaseHeld while another
    run writes, FingerprintMismatch if the models are not those that the database was fitted on, TooManyRejected beyond
    `run.max_rejected` or if all items were rejected, Stopped when a signal ends it; what was committed stays.
    """
    with tempfile.TemporaryDirectory(prefix="fuseid-listing-") as directory:
        scratch = Path(directory)
        intake = intake_of(source, config, scratch, prune)
        config = intake.config
        store = Store.create(uri)
        with writing_job(store, "ingest", config, str(source.base)) as run:
            started, progress = time.perf_counter(), run.shown_by(progress)
            fusions, tokenizer = load_champion(store)
            reconcile(store)
            unlisted = unlisted_by(source, intake, store, scratch) if prune else None
            intake.begin(store, run, fusions)
            run.pass_over(passed_over_by(source).counts)
            waves = Waves(intake, config.run, run, partial(_committed, intake, after_wave))
            run.partial = intake.plan.counts
            progress.begin("ingest", intake.items)
            meter = Meter()
            try:
                _stream(intake, runner, waves, progress, meter)
                intake.finish(run)
            except TooManyRejected:
                intake.finish(run)
                raise
            finally:
                run.counts |= intake.plan.counts | intake.plan.found.counts()
                run.counts["missing_kept"] += waves.kept.count
                run.counts["unchanged"] += waves.unchanged
                if intake.plan.found.seconds:
                    run.seconds["plan"] = intake.plan.found.seconds
                run.seconds["total"] = time.perf_counter() - started
                meter.finish(run, config, runner.capacity(), runner.name)
            intake.end(run, waves.kept)
            if prune:
                run.counts["pruned"] = unlisted.remove() if unlisted else 0
            if store.has_contents():
                fuse(store, run)
                finish(store, run, config, progress, tokenizer)
            run.seconds["total"] = time.perf_counter() - started
            _note(run, store, source, prune)
    return run


def _stream(intake: Intake, runner: Runner, waves: Waves, progress: Progress, meter: Meter) -> None:
    """Runs the planned work and commits it. After a signal it plans no more, and commits what is finished in time."""
    shown = 0
    plan = intake.plan

    def show(rows: int) -> None:
        nonlocal shown
        passed = plan.passed
        progress.advance("ingest", rows + passed - shown)
        shown = passed

    with stoppable(intake.config.run.drain_seconds) as stop:
        stream = intake.stream(runner, lambda: not stop.requested)
        with Prefetch(stream, room=intake.ahead, name="fuseid-stream") as done:
            try:
                while not done.ended and not stop.overdue:
                    batch = done.get(_POLL_SECONDS)
                    if batch is not None:
                        meter.add(batch)
                        waves.add(batch)
                    show(0 if batch is None else batch.num_rows)
                    waves.commit_if_due()
                if stop.requested:
                    waves.commit()
                else:
                    waves.end()
            finally:
                if not done.ended:
                    runner.halt()
                if stop.requested:
                    done.close_seconds = _LEAVE_SECONDS
    if stop.requested:
        raise stop.error(f"{waves.finished} items of this run are in the database; run the same command again to go on")


def _committed(intake: Intake, after_wave: Callable[[int], None] | None, waves: int) -> None:
    intake.committed(waves)
    if after_wave is not None:
        after_wave(waves)


def _note(run: Run, store: Store, source: Source | Vectors, prune: bool) -> None:
    """Adds notes for the summary of the run."""
    run.notes += source_notes(source, prune)
    if store.setting("fusion") is None and store.setting("champion") is None and store.has_contents():
        run.notes.append(f"vectors are stored; {command('fit', store.uri)} learns the tokenizer and gives IDs")
