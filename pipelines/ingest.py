"""Ingest: a source into the store, and, once a tokenizer is champion, into semantic IDs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.config import Config
from fuseid.core.errors import FingerprintMismatch
from fuseid.encoders.fusion import Fusion
from fuseid.encoders.models import is_fake, pinned
from fuseid.pipelines.assign import assign, check_fusion, fuse_missing, note_without_id, project
from fuseid.pipelines.commit import WaveCommitter, reconcile
from fuseid.pipelines.indexes import ensure_key_index, maintain
from fuseid.pipelines.lease import Lease
from fuseid.pipelines.plan import Plan
from fuseid.pipelines.runners import Runner
from fuseid.pipelines.runs import Run, recorded
from fuseid.pipelines.sources import Source, count_distinct
from fuseid.pipelines.stages import stage_fingerprints
from fuseid.pipelines.store import Store
from fuseid.tokenizers.rq_kmeans import RQKMeans


class Progress(Protocol):
    """Told of work as it happens; the command line shows bars."""

    def begin(self, stage: str, total: int | None) -> None: ...

    def advance(self, stage: str, done: int) -> None: ...


class Silent:
    def begin(self, stage: str, total: int | None) -> None:
        pass

    def advance(self, stage: str, done: int) -> None:
        pass


def ingest(
    uri: str,
    source: Source,
    config: Config,
    runner: Runner,
    progress: Progress | None = None,
    after_wave: Callable[[int], None] | None = None,
) -> Run:
    """Decodes and encodes what is new or changed, commits it wave by wave, then gives IDs.

    after_wave: called with the number of waves committed so far, after each commit; for tests and for watching.
    Raises BadInput for a source that cannot be read or names an id twice, LeaseHeld while another run writes,
    FingerprintMismatch where the models are not those the database was fitted on.
    """
    progress = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="fuseid-keys-") as scratch:
        total = count_distinct(source, Path(scratch))
    config = pinned(config)
    fingerprints = stage_fingerprints(config)
    store = Store.create(uri)
    with Lease(store, config.run.lease_seconds) as lease, recorded(store, "ingest", config, str(source.base)) as run:
        started = time.perf_counter()
        _pin_precision(store, config)
        fusion, tokenizer = load_champion(store)
        if fusion is not None:
            fusion.check_encoders(fingerprints.encoders())
        reconcile(store)
        plan = Plan(store, source, config, fingerprints)
        committer = WaveCommitter(store, lease, run.run_id, fingerprints, fusion)
        progress.begin("ingest", total)
        skipped = 0
        buffer: list[pa.RecordBatch] = []
        rows, last, waves = 0, time.perf_counter(), 0
        totals = {"committed": 0, "rejected": 0}
        seconds = {"decode": 0.0, "encode": 0.0, "commit": 0.0}

        def commit() -> None:
            nonlocal buffer, rows, last, waves
            begun = time.perf_counter()
            good, bad = committer.commit(pa.Table.from_batches(buffer))
            totals["committed"] += good
            totals["rejected"] += bad
            plan.counts["missing_kept"] += rows - good - bad
            buffer, rows, waves = [], 0, waves + 1
            if waves == 1:
                _remember_clip(store, config)
            if waves % 20 == 1:
                ensure_key_index_if_any(store)
            last = time.perf_counter()
            seconds["commit"] += last - begun
            if after_wave is not None:
                after_wave(waves)

        for batch in runner.stream(plan.work(), config):
            buffer.append(batch)
            rows += batch.num_rows
            for stage in ("decode", "encode"):
                seconds[stage] += pc.sum(batch[f"seconds_{stage}"]).as_py() or 0.0
            passed = plan.counts["listed"] - plan.counts["planned"]
            progress.advance("ingest", batch.num_rows + passed - skipped)
            skipped = passed
            if rows >= config.run.wave_rows or time.perf_counter() - last > config.run.wave_seconds:
                commit()
        if buffer:
            commit()
        progress.advance("ingest", plan.counts["listed"] - plan.counts["planned"] - skipped)
        run.counts |= plan.counts | totals
        run.seconds |= seconds
        _remember_clip(store, config)
        if store.has_contents():
            finish(store, fusion, tokenizer, lease, run, progress)
        run.seconds["total"] = time.perf_counter() - started
        if plan.counts["missing_kept"]:
            run.notes.append(
                f"the files of {plan.counts['missing_kept']} known items cannot be read now; their rows stay"
            )
        if is_fake(config.clip.model if config.clip else None) or is_fake(config.vlm.model):
            run.notes.append("FAKE ENCODER: these vectors are for tests and mean nothing; give real ones another --db")
        run.notes += getattr(source, "notes", ())
        ignored = getattr(source, "ignored", ())
        if ignored:
            run.notes.append(f"columns of the manifest that were not read: {', '.join(ignored)}")
        if fusion is None and store.has_contents():
            run.notes.append(f"vectors are stored; `fuseid fit --db {uri}` learns the tokenizer and gives IDs")
    return run


def finish(
    store: Store, fusion: Fusion | None, tokenizer: RQKMeans | None, lease: Lease, run: Run, progress: Progress
) -> None:
    """The serial end of a run: vectors that a killed run left unfused, IDs, indexes."""
    started = time.perf_counter()
    if fusion is not None and tokenizer is not None:
        check_fusion(tokenizer, fusion)
        fuse_missing(store, fusion, lease)
        project(store, tokenizer.id)
        progress.begin("assign", None)
        run.counts["assigned"] = assign(
            store, tokenizer, lease, run.run_id, champion=True, progress=lambda n: progress.advance("assign", n)
        )
        note_without_id(store, run)
    run.seconds["assign"] = time.perf_counter() - started
    started = time.perf_counter()
    lease.check()
    maintain(store)
    run.seconds["maintain"] = time.perf_counter() - started


def load_champion(store: Store) -> tuple[Fusion | None, RQKMeans | None]:
    """The fusion and tokenizer in force, None before the first fit. Raises ArtifactError for a damaged artifact."""
    fusion_id, tokenizer_id = store.setting("fusion"), store.setting("champion")
    fusion = store.get_artifact(Fusion, fusion_id) if fusion_id else None
    tokenizer = store.get_artifact(RQKMeans, tokenizer_id) if tokenizer_id else None
    return fusion, tokenizer


def ensure_key_index_if_any(store: Store) -> None:
    if store.has_contents():
        ensure_key_index(store)


def _pin_precision(store: Store, config: Config) -> None:
    """Pins what the vectors of this database are computed in; another precision later is an error."""
    wanted = {
        "clip": config.clip.precision if config.clip else None,
        "vlm": config.vlm.precision if config.vlm.model else None,
    }
    pinned = store.setting("precision") or {}
    for model, precision in wanted.items():
        if precision and pinned.get(model, precision) != precision:
            raise FingerprintMismatch(
                f"{store.uri} holds {model} vectors computed in {pinned[model]}, this run asks for {precision}; "
                f"set {model}.precision to {pinned[model]} or use another --db"
            )
    new = {model: precision for model, precision in wanted.items() if precision}
    if pinned | new != pinned:
        store.put_settings({"precision": pinned | new})


def _remember_clip(store: Store, config: Config) -> None:
    """Look-ups encode their queries by what the last ingest used, unless told otherwise; a refused ingest is none."""
    if config.clip and store.has_contents() and store.setting("clip") != config.clip.model_dump():
        store.put_settings({"clip": config.clip.model_dump()})
