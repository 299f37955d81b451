"""Pairs of items that the same people use, made from interactions: what learned fusion is fitted to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.core.text import counted
from fuseid.pipelines.engagement.numbering import Numbering
from fuseid.pipelines.engagement.pairs_file import Piece, write_pairs
from fuseid.pipelines.exports.folder import scratch_folder
from fuseid.pipelines.jobs.progress import Lines, Progress, tracked
from fuseid.pipelines.pairing.coverage import Coverage, Example
from fuseid.pipelines.pairing.events import EventFiles
from fuseid.pipelines.pairing.making import Making
from fuseid.pipelines.pairing.options import DEFAULTS, Options
from fuseid.pipelines.pairing.runners import LocalPairRunner, PairRunner
from fuseid.pipelines.sequences.clock import Clock, shown
from fuseid.pipelines.sequences.interactions import Interactions
from fuseid.pipelines.sequences.options import MOST_SHARDS
from fuseid.pipelines.store.durable import fsync
from fuseid.pipelines.store.rows import sql_list
from fuseid.pipelines.store.store import Store

# Events of one shard, which a worker sorts at a time; some 50 MB.
_SHARD_EVENTS = 500_000


def pairs(
    interactions: str | Path,
    out: str | Path,
    options: Options,
    *,
    db: str | None = None,
    time_zone: str | None = None,
    time_unit: str | None = None,
    runner: PairRunner | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the pairs that `options` describe into a new Parquet file `out` -> what is in it, as a plain dictionary.

    interactions: see `Interactions.open`. db: a database: events of other items are not used, and examples have the
    captions of its items. time_zone, time_unit: see `Clock`. The same events and options give the same bytes, with
    every runner and any number of workers. Memory: below 1 GB, some 100 bytes for each item, and for `swing` some 20
    for each user; disk, beside `out`: some 20 bytes for each event and place of a window.

    A failure leaves no file. Raises BadInput for input that cannot be read, for options that leave no event or pair,
    and if `out` exists; StoreError for a database that is not there or has no item.
    """
    out, progress = Path(out), progress or Lines()
    if out.suffix != ".parquet":
        raise BadInput(f"{option('out')} names a new .parquet file, got {out}")
    if out.exists():
        raise BadInput(f"{out} exists; choose another {option('out')} or remove it")
    source = Interactions.open(Path(interactions), Clock(time_unit, time_zone), keep=[])
    contents = None if db is None else _contents(db)
    numbering = Numbering() if contents is None else Numbering(_ids(contents))
    estimate = source.estimated_events()
    with scratch_folder(out) as scratch:
        shards = min(max(1, -(-estimate // _SHARD_EVENTS)), MOST_SHARDS)
        batches = tracked(source.batches(), "read", estimate, progress)
        events = EventFiles(batches, numbering, options.until, scratch, shards)
        _check_some(events, options, db)
        content_ids, rank = numbering.ranked()
        making = Making(events, len(content_ids), rank, options, scratch, runner or LocalPairRunner(), progress)
        facts = {
            "method": options.method,
            "options": options.facts(),
            "until": options.facts()["until"],
            "leave_out": options.leave_out,
            "interactions": source.facts(),
        }
        document: dict[str, Any] = {}

        def about() -> dict[str, Any]:
            document.update(facts, **_found(events, making))
            return document

        made = scratch / "pairs.parquet"
        fingerprint = write_pairs(made, content_ids, _not_empty(making, events, options), about)
        os.chmod(made, 0o644)
        fsync([made])
        os.rename(made, out)
        fsync([out.resolve().parent])
    return {
        "out": str(out),
        **document,
        "fingerprint": fingerprint,
        "coverage": making.coverage.table(),
        "examples": _examples(making.coverage, content_ids, contents),
    }


def _contents(db: str) -> lance.LanceDataset:
    store = Store.open(db)
    contents = store.dataset("contents")
    if not contents.count_rows():
        raise store.empty()
    return contents


def _ids(contents: lance.LanceDataset) -> pa.Array:
    return contents.to_table(columns=["content_id"])["content_id"].combine_chunks()


def _check_some(events: EventFiles, options: Options, db: str | None) -> None:
    if events.kept:
        return
    if events.later == events.count:
        raise BadInput(
            f"none of the {counted(events.count, 'interaction')} is before {shown(options.until or 0)}; give a later "
            f"{option('until')}, or earlier interactions"
        )
    raise BadInput(
        f"none of the {counted(events.count - events.later, 'interaction')} is with an item of {db}; content_id must "
        "be as in the database"
    )


def _not_empty(making: Making, events: EventFiles, options: Options) -> Iterator[Piece]:
    """The pieces. Raises BadInput at their end if there was no pair."""
    yield from making.pieces()
    if making.pairs:
        return
    used = making.counts
    more = f", a larger {option('window')}" if "window" in DEFAULTS[options.method] else ""
    less = " and ".join(option(name) for name in ("least", "leave_out") if name == "least" or options.leave_out)
    raise BadInput(
        f"no pair is left of {counted(used.events, 'event')} of {counted(used.users, 'user')}; give more interactions, "
        f"less {less}{more}"
    )


def _found(events: EventFiles, making: Making) -> dict[str, Any]:
    used = making.counts
    return {
        "first_event": None if events.first is None else shown(events.first),
        "last_event": None if events.last is None else shown(events.last),
        "counts": {
            "events": events.count,
            "later": events.later,
            "unknown_item": events.unknown,
            "duplicate": used.duplicates,
            "left_out": used.left_out,
            "used": used.events,
            "users": used.users,
            "items": int((used.events_I > 0).sum()),
            "items_in_pairs": making.coverage.in_pairs,
            "pairs": making.pairs,
        },
    }


def _examples(coverage: Coverage, content_ids: pa.Array, contents: lance.LanceDataset | None) -> list[dict[str, Any]]:
    found = coverage.examples()
    captions = {} if contents is None else _captions(found, content_ids, contents)

    def item(number: int) -> dict[str, Any]:
        name = content_ids[number].as_py()
        return {"content_id": name, **({"caption": captions.get(name)} if captions else {})}

    return [
        {
            "part": example.part,
            **item(example.item),
            "partners": [{**item(partner), "weight": weight} for partner, weight in example.partners],
        }
        for example in found
    ]


def _captions(found: list[Example], content_ids: pa.Array, contents: lance.LanceDataset) -> dict[str, str | None]:
    numbers = {number for each in found for number in (each.item, *(partner for partner, _ in each.partners))}
    names = [content_ids[number].as_py() for number in sorted(numbers)]
    where = f"content_id IN ({sql_list(names)})"
    rows = contents.to_table(columns=["content_id", "caption"], filter=where) if names else None
    return {} if rows is None else dict(zip(rows["content_id"].to_pylist(), rows["caption"].to_pylist(), strict=True))
