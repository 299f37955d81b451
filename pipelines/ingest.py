"""Ingest: writes the items of a source into the store, and gives them IDs once a tokenizer is champion."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fuseid.core.config import Config
from fuseid.core.errors import FingerprintMismatch
from fuseid.encoders.model_identity import is_fake, pinned
from fuseid.pipelines.assignment.champion import load_champion
from fuseid.pipelines.assignment.finish import finish, fuse
from fuseid.pipelines.ingestion.commit import WaveCommitter, reconcile
from fuseid.pipelines.ingestion.fingerprints import stage_fingerprints
from fuseid.pipelines.ingestion.plan import Plan
from fuseid.pipelines.ingestion.prune import Unlisted
from fuseid.pipelines.ingestion.runners import Runner
from fuseid.pipelines.ingestion.waves import Waves
from fuseid.pipelines.jobs.progress import Progress, Silent
from fuseid.pipelines.jobs.runs import Run, writing_job
from fuseid.pipelines.jobs.stopping import stoppable
from fuseid.pipelines.sources.item import Source
from fuseid.pipelines.sources.listing import Listing
from fuseid.pipelines.store.indexes import extend_key_index
from fuseid.pipelines.store.messages import command
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.streams.prefetch import Prefetch

# How long a run waits at most before it checks whether it is to stop.
_POLL_SECONDS = 0.2
# How long a stopped run waits until its unfinished work is closed.
_LEAVE_SECONDS = 1.0


def ingest(
    uri: str,
    source: Source,
    config: Config,
    runner: Runner,
    progress: Progress | None = None,
    after_wave: Callable[[int], None] | None = None,
    prune: bool = False,
) -> Run:
    """Decodes and encodes what is new or changed, commits it wave by wave, then gives IDs.

    after_wave: called with the number of waves committed so far, after each commit; for tests and for watching.
    prune: afterwards removes items that `source`, the whole catalogue, does not list.
    Raises BadInput for a source that cannot be read or names an id twice, LeaseHeld while another run writes,
    FingerprintMismatch if the models are not those that the database was fitted on, TooManyRejected beyond
    `run.max_rejected` or if all items were rejected, Stopped when a signal ends it; what was committed stays.
    """
    progress = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="fuseid-listing-") as scratch:
        listing = Listing(source, Path(scratch), expect_rows=config.source.expect_rows)
        config = pinned(config)
        fingerprints = stage_fingerprints(config)
        store = Store.create(uri)
        with writing_job(store, "ingest", config, str(source.base)) as run:
            started = time.perf_counter()
            _pin_precision(store, config)
            fusion, tokenizer = load_champion(store)
            if fusion is not None:
                fusion.check_encoders(fingerprints.encoders())
            reconcile(store)
            whole = getattr(source, "incomplete", None) is None
            unlisted = None
            if prune and whole:
                # A user who gives the number of items has checked that none is missing.
                within = getattr(source, "line_within_text", None) if config.source.expect_rows is None else None
                unlisted = Unlisted(store, listing.keys, Path(scratch), config.run.max_prune, within)
            plan = Plan(store, listing, config, fingerprints)
            committer = WaveCommitter(store, run.run_id, fingerprints, fusion)
            committed = partial(_committed, store, config, after_wave)
            waves = Waves(committer, config.run, run, plan, committed, _not_read(source))
            progress.begin("ingest", listing.keys.count)
            try:
                _stream(plan, runner, waves, progress)
            finally:
                run.counts |= plan.counts
                run.counts["missing_kept"] += waves.kept
                run.counts["unchanged"] += waves.unchanged
                run.seconds["total"] = time.perf_counter() - started
            _remember_clip(store, config)
            if prune:
                run.counts["pruned"] = unlisted.remove() if unlisted else 0
            if store.has_contents():
                if fusion is not None:
                    fuse(store, run, fusion)
                finish(store, run, config, progress, tokenizer)
            run.seconds["total"] = time.perf_counter() - started
            _note(run, store, source, config, prune)
            run.notes += plan.notes
    return run


def _stream(plan: Plan, runner: Runner, waves: Waves, progress: Progress) -> None:
    """Runs the planned work and commits it. After a signal it plans no more, and commits what is finished in time."""
    shown = 0

    def show(rows: int) -> None:
        nonlocal shown
        passed = plan.passed
        progress.advance("ingest", rows + passed - shown)
        shown = passed

    with stoppable(plan.config.run.drain_seconds) as stop:
        plan.go_on = lambda: not stop.requested
        with Prefetch(runner.stream(plan.work(), plan.config), room=1, name="fuseid-stream") as done:
            try:
                while not done.ended and not stop.overdue:
                    batch = done.get(_POLL_SECONDS)
                    if batch is not None:
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


def _committed(store: Store, config: Config, after_wave: Callable[[int], None] | None, waves: int) -> None:
    if waves == 1:
        _remember_clip(store, config)
    if store.has_contents():
        extend_key_index(store, waves)
    if after_wave is not None:
        after_wave(waves)


def _note(run: Run, store: Store, source: Source, config: Config, prune: bool) -> None:
    """Adds notes for the summary of the run."""
    if run.counts["missing_kept"]:
        run.notes.append(f"the files of {run.counts['missing_kept']} known items cannot be read now; their rows stay")
    incomplete = getattr(source, "incomplete", None)
    if prune and incomplete:
        run.notes.append(f"nothing was pruned: {incomplete}, so its list may lack items")
    if is_fake(config.clip.model if config.clip else None) or is_fake(config.vlm.model):
        run.notes.append("FAKE ENCODER: these vectors are for tests and mean nothing; give real ones another --db")
    run.notes += getattr(source, "notes", ())
    if not_read := _not_read(source):
        run.notes.append(not_read)
    if store.setting("fusion") is None and store.setting("champion") is None and store.has_contents():
        run.notes.append(f"vectors are stored; {command('fit', store.uri)} learns the tokenizer and gives IDs")


def _not_read(source: Source) -> str | None:
    """A note about columns of a manifest that are not read: a misspelt name is among them."""
    ignored = getattr(source, "ignored", ())
    return f"columns of the manifest that were not read: {', '.join(ignored)}" if ignored else None


def _pin_precision(store: Store, config: Config) -> None:
    """Pins the precision in which the vectors of this database are computed; another one later is an error."""
    wanted = {
        "clip": config.clip.precision if config.clip else None,
        "vlm": config.vlm.precision if config.vlm.model else None,
    }
    settings = store.settings()
    pinned = settings.get("precision") or {}
    for model, precision in wanted.items():
        if precision and pinned.get(model, precision) != precision:
            raise FingerprintMismatch(
                f"{store.uri} holds {model} vectors computed in {pinned[model]}, this run asks for {precision}; "
                f"set {model}.precision to {pinned[model]} or use another --db"
            )
    new = {model: precision for model, precision in wanted.items() if precision}
    if pinned | new != pinned:
        store.put_settings({"precision": pinned | new}, settings)


def _remember_clip(store: Store, config: Config) -> None:
    """Records the CLIP of this ingest: by default look-ups encode queries as the last ingest did that was not
    refused."""
    settings = store.settings()
    if config.clip and store.has_contents() and settings.get("clip") != config.clip.model_dump(mode="json"):
        store.put_settings({"clip": config.clip.model_dump(mode="json")}, settings)
