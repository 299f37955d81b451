"""Exports for trainers, with their options as plain arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fuseid.api.renamed import renamed
from fuseid.api.runners import neighbour_runner_named, pair_runner_named
from fuseid.pipelines.exports.ids import export_ids as run_ids
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.pairing.options import Options as PairOptions
from fuseid.pipelines.pairing.options import parse_until
from fuseid.pipelines.pairing.runners import PairRunner
from fuseid.pipelines.pairs import pairs as run_pairs
from fuseid.pipelines.sequences.export import export_sequences as run_sequences
from fuseid.pipelines.sequences.options import Options, parse_cuts

# It needs torch, without which the other functions work.
if TYPE_CHECKING:
    from fuseid.pipelines.neighbourhood.runners import NeighbourRunner


@renamed(tokenizer_id="tokenizer")
def export_ids(
    db: str | Path,
    out: str | Path,
    format: str | None = None,
    *,
    tokenizer: str | None = None,
    since: str | None = None,
    manifest: str | Path | None = None,
    with_: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes every item's ID into a new folder `out`; -> its manifest. See `pipelines.exports.ids.export_ids`."""
    earlier = None if manifest is None else Path(manifest)
    return run_ids(str(db), out, format, tokenizer, since, earlier, progress, with_)


@renamed(tokenizer_id="tokenizer")
def export_sequences(
    db: str | Path,
    interactions: str | Path,
    out: str | Path,
    format: str = "parquet",
    *,
    split: Literal["leave-one-out", "by-time"] = "leave-one-out",
    cuts: str | None = None,
    train: Literal["prefix", "window", "last"] | None = None,
    max_history: int = 50,
    min_history: int = 1,
    min_events: int = 1,
    time_zone: str | None = None,
    time_unit: str | None = None,
    keep: Sequence[str] | None = None,
    shards: int | None = None,
    tokenizer: str | None = None,
    tag: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes users' histories as IDs into a new folder `out`, in this process; -> its manifest.

    interactions: a `.parquet` or `.csv` file with user_id, content_id and timestamp, or a folder of such files. cuts:
    of the split by time, `0.8,0.9` or two time stamps. The options from split to min_events are those of
    `pipelines.sequences.options.Options`, all others those of `pipelines.sequences.export.export_sequences`.
    """
    parsed = () if cuts is None else parse_cuts(cuts, time_zone)
    options = Options(split, parsed, train, max_history, min_history, min_events)
    return run_sequences(
        str(db), interactions, out, format, options, tokenizer_id=tokenizer, tag=tag, time_zone=time_zone,
        time_unit=time_unit, keep=keep, shards=shards, progress=progress,
    )  # fmt: skip


def neighbours(
    db: str | Path,
    out: str | Path,
    k: int = 50,
    *,
    space: str | None = None,
    recall: float = 0.95,
    runner: Literal["local", "ray"] | NeighbourRunner = "local",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the k most similar items of every item into a new folder `out`; -> its manifest, with the measured recall.
    See `pipelines.neighbours.neighbours`. runner: `ray` works on the cluster that RAY_ADDRESS names, or on one of its
    own; the table is the same."""
    from fuseid.pipelines.neighbours import neighbours as run_neighbours

    chosen = neighbour_runner_named(runner) if isinstance(runner, str) else runner
    return run_neighbours(str(db), out, k, space=space, recall=recall, runner=chosen, progress=progress)


def pairs(
    interactions: str | Path,
    out: str | Path,
    method: Literal["window", "swing", "cooccurrence"],
    *,
    db: str | Path | None = None,
    until: str | None = None,
    leave_out: int = 0,
    max_history: int = 500,
    most: int = 50,
    least: int = 2,
    window: int | None = None,
    session: float | None = None,
    by_distance: bool | None = None,
    popularity: float | None = None,
    smoothing: float | None = None,
    alpha: float | None = None,
    most_users: int | None = None,
    time_zone: str | None = None,
    time_unit: str | None = None,
    runner: Literal["local", "ray"] | PairRunner = "local",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes pairs of items that the same people use into a new Parquet file `out`; -> what is in it.

    until: a time stamp, at and after which no event is used. The options from leave_out to most_users are those of
    `pipelines.pairing.options.Options`, all others those of `pipelines.pairs.pairs`.
    """
    options = PairOptions(
        method, None if until is None else parse_until(until, time_zone), leave_out, max_history, most, least, window,
        session, by_distance, popularity, smoothing, alpha, most_users,
    )  # fmt: skip
    chosen = pair_runner_named(runner) if isinstance(runner, str) else runner
    return run_pairs(
        interactions, out, options, db=None if db is None else str(db), time_zone=time_zone, time_unit=time_unit,
        runner=chosen, progress=progress,
    )  # fmt: skip
