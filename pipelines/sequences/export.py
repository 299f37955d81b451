"""Export of sequences: interactions, joined with the IDs of one pinned version, become a trainer's examples."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from fuseid.core.errors import BadInput
from fuseid.core.installed import versions
from fuseid.core.surface import option
from fuseid.core.text import counted
from fuseid.pipelines.exports.folder import new_folder, write_manifest
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.pipelines.jobs.progress import Lines, Progress, tracked
from fuseid.pipelines.sequences.clock import Clock, shown
from fuseid.pipelines.sequences.events import Events
from fuseid.pipelines.sequences.interactions import Interactions
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.options import EVENTS, MOST_SHARDS, SPLITS, Options
from fuseid.pipelines.sequences.registry import SequenceFormat, format_named
from fuseid.pipelines.sequences.shards import Job, LocalShardRunner, ShardRunner

# Events of one shard, which a worker sorts at a time; some 50 MB.
_SHARD_EVENTS = 500_000
# Options that decide which examples there are, and how long their histories.
_OF_HISTORIES = ("train", "max_history", "min_history")
_LIBRARIES = ("fuseid", "pyarrow", "numpy", "protobuf")


def export_sequences(
    uri: str,
    interactions: str | Path,
    out: str | Path,
    format: str = "parquet",
    options: Options | None = None,
    *,
    tokenizer_id: str | None = None,
    tag: str | None = None,
    time_zone: str | None = None,
    time_unit: str | None = None,
    keep: Sequence[str] | None = None,
    shards: int | None = None,
    runner: ShardRunner | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes examples of all users into a new folder `out`, and at the end `manifest.json`, which it returns.

    interactions: see `Interactions.open`. tokenizer_id: whose IDs, by default the champion's; tag: of an earlier
    export, whose version is read again. time_zone, time_unit: see `Clock`. shards: into how many parts users are
    divided by a hash, each with its own files; by default one for every 500,000 events. The same input, options and
    shards give the same bytes, with every runner.
    A failure leaves no incomplete folder. Raises BadInput for input that cannot be read, options that do not fit it,
    and a split without events; StoreError if there are no IDs.
    """
    chosen = format_named(format)
    options = options or Options()
    progress = progress or Lines()
    _check_options(chosen, options)
    source = Interactions.open(Path(interactions), Clock(time_unit, time_zone), keep)
    if taken := [name for name in source.kept.names if name in chosen.RESERVED]:
        raise BadInput(
            f"{format} has a column {taken[0]!r} of its own; rename yours, or leave it out by {option('keep')}"
        )
    estimate = source.estimated_events()
    if shards is None:
        shards = min(max(1, -(-estimate // _SHARD_EVENTS)), MOST_SHARDS)
    if not 1 <= shards <= MOST_SHARDS:
        raise BadInput(f"{option('shards')} is 1 to {MOST_SHARDS}, got {shards}")
    snapshot = Snapshot.open(uri, tokenizer_id, tag)
    with new_folder(out) as folder:
        with snapshot.items(chosen.EXTRA) as (_, batches):
            items = Items.of(batches, snapshot.codebook_sizes, chosen.titles)
        scratch = folder / ".events"
        scratch.mkdir()
        batches = tracked(source.batches(), "read", estimate, progress)
        events = Events(batches, items, source.kept, scratch, shards)
        job = Job(chosen.NAME, _with_times(options, events), options.train or chosen.TRAIN, shards)
        counts = _write(job, runner or LocalShardRunner(), items, events, folder, progress)
        _check_splits(counts, job, events)
        chosen.finish(folder, items)
        unknown = events.write_unknown(folder)
        shutil.rmtree(scratch)
        snapshot.tag()
        return write_manifest(
            folder,
            {**snapshot.facts(), **_facts(chosen, job, options, source, events, counts), "unknown_items": unknown},
        )


def _check_options(chosen: SequenceFormat, options: Options) -> None:
    plain = Options()
    given = [name for name in _OF_HISTORIES if getattr(options, name) != getattr(plain, name)]
    if chosen.TRAIN == EVENTS and given:
        raise BadInput(f"{chosen.NAME} has every event once, without a history; leave out {option(given[0])}")


def _with_times(options: Options, events: Events) -> Options:
    """The options with cuts that are shares replaced by times."""
    if not any(isinstance(cut, Fraction) for cut in options.cuts):
        return options
    times = [events.time_at(Fraction(cut)) for cut in options.cuts]
    if times[0] == times[1]:
        raise BadInput(f"both {option('cuts')} fall on {shown(times[0])}, so nothing validates; choose others")
    return replace(options, cuts=tuple(times))


def _write(
    job: Job, runner: ShardRunner, items: Items, events: Events, folder: Path, progress: Progress
) -> Counter[str]:
    progress.begin("shards", job.shards)
    counts: Counter[str] = Counter()
    for done in runner.run(job, items, events.read(), folder):
        counts.update(done)
        progress.advance("shards", 1)
    return counts


def _check_splits(counts: Counter[str], job: Job, events: Events) -> None:
    empty = [split for split in SPLITS if not counts[split]]
    if not empty:
        return
    first, last = events.span
    known = counted(events.count - events.unknown - counts["duplicates"], "event")
    users = counted(counts["users"], "user")
    cuts = f"other {option('cuts')}, or " if job.options.cuts else ""
    raise BadInput(
        f"no example is left for {' and '.join(empty)}: known items occur in {known} of {users}, "
        f"from {shown(first)} to {shown(last)}; give more, or choose {cuts}less {option('min_history')} and "
        f"{option('min_events')}"
    )


def _facts(
    chosen: SequenceFormat, job: Job, asked: Options, source: Interactions, events: Events, counts: Counter[str]
) -> dict[str, Any]:
    options = asdict(asked) | {"train": job.train, "cuts": [str(cut) for cut in asked.cuts]}
    if job.train == EVENTS:
        options = {name: value for name, value in options.items() if name not in ("max_history", "min_history")}
    if job.options.cuts:
        options["cut_times"] = [shown(int(cut)) for cut in job.options.cuts]
    return {
        "format": chosen.NAME,
        "options": options
        | {
            "kept": source.kept.names,
            "time_unit": source.clock.unit,
            "time_zone": source.clock.zone,
            "shards": job.shards,
        },
        "interactions": source.facts(),
        "events": events.count,
        "dropped": {"unknown_item": events.unknown, "duplicate": counts["duplicates"]},
        "users": counts["users"],
        "users_without_example": counts["users_without_example"],
        "examples": {split: counts[split] for split in SPLITS},
        "written_by": versions(*_LIBRARIES),
    }
