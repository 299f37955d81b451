"""The command that makes pairs of items that the same people use: pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fuseid.api.runners import pair_runner_named
from fuseid.apps.options import Json, OptionalDb


def pairs(
    interactions: Annotated[
        Path, typer.Option(help=".parquet or .csv with user_id, content_id, timestamp; or a folder of them")
    ],
    out: Annotated[Path, typer.Option(help="new file (Parquet)")],
    method: Annotated[str, typer.Option(help="window, swing or cooccurrence")],
    db: OptionalDb = None,
    until: Annotated[
        str | None, typer.Option(help="use no event at or after this time, e.g. 2024-05-01T00:00Z: where a test begins")
    ] = None,
    leave_out: Annotated[
        int, typer.Option(help="newest events of every user that are not used: 2 for leave-one-out")
    ] = 0,
    max_history: Annotated[int, typer.Option(help="newest events of a user that are used")] = 500,
    most: Annotated[int, typer.Option(help="pairs kept for each item, those of the largest weight")] = 50,
    least: Annotated[int, typer.Option(help="users that a pair has at least")] = 2,
    window: Annotated[
        int | None, typer.Option(help="window, cooccurrence: how many events apart at most; default: 5")
    ] = None,
    session: Annotated[
        float | None, typer.Option(help="window, cooccurrence: minutes without an event that end a session")
    ] = None,
    by_distance: Annotated[
        bool, typer.Option("--by-distance", help="window, cooccurrence: a user adds 1 / distance to a pair, not 1")
    ] = False,
    popularity: Annotated[
        float | None, typer.Option(help="window: exponent by which popular items count less; default: 0.5, the cosine")
    ] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="cooccurrence: exponent of the counts of contexts; default: 0.75")
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="swing: added to what two users share; default: 1")] = None,
    most_users: Annotated[int | None, typer.Option(help="swing: users of an item that count; default: 500")] = None,
    time_zone: Annotated[str | None, typer.Option(help="time zone of time stamps without one, e.g. UTC")] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="unit of numeric time stamps: s, ms, us or ns; default: by their size")
    ] = None,
    runner: Annotated[str, typer.Option(help="local, or ray: on a cluster, with the same result")] = "local",
    json: Json = False,
) -> None:
    """Make pairs of items that the same people use, for a learned fusion; with --db only of its items."""
    from fuseid.apps.pairs_text import print_pairs
    from fuseid.apps.show import Bars, print_json
    from fuseid.pipelines.pairing.options import Options, parse_until
    from fuseid.pipelines.pairs import pairs as run_pairs

    options = Options(
        method, None if until is None else parse_until(until, time_zone), leave_out, max_history, most, least, window,
        session, by_distance or None, popularity, smoothing, alpha, most_users,
    )  # fmt: skip
    with Bars(quiet=json) as bars:
        document = run_pairs(
            interactions, out, options, db=db, time_zone=time_zone, time_unit=time_unit,
            runner=pair_runner_named(runner), progress=bars,
        )  # fmt: skip
    print_json(document) if json else print_pairs(document)
