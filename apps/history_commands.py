"""Commands that tell what was done to a database: runs, tokenizers."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from fuseid.apps.options import Db, Json
from fuseid.core.errors import BadInput

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def runs(
    db: Db,
    last: Annotated[int, typer.Option(help="runs shown at most")] = 10,
    job: Annotated[list[str] | None, typer.Option(help="only runs of this job, e.g. ingest; may be repeated")] = None,
    max_age: Annotated[
        str | None,
        typer.Option(help="for monitoring: exit with 1 if the last success of each --job is older, e.g. 26h, 90m, 2d"),
    ] = None,
    json: Json = False,
) -> None:
    """Show what jobs did, how they ended, and how long ago each kind of job last succeeded."""
    from fuseid.apps.show import print_json
    from fuseid.pipelines.runs import runs as run_runs

    limit = None if max_age is None else _age(max_age)
    if limit is not None and not job:
        raise typer.BadParameter("--max-age is that of a --job, such as --job ingest")
    history = run_runs(db, last, job or ())
    late = [] if limit is None else [line for name in job or () if (line := history.stale(name, limit))]
    if json:
        print_json({**asdict(history), "late": late})
    else:
        from fuseid.apps.history_text import print_history

        print_history(history)
    for line in late:
        typer.echo(f"late: {line}", err=True)
    if late:
        raise typer.Exit(1)


def tokenizers(db: Db, json: Json = False) -> None:
    """Show the tokenizers of a database, how good they are, and which one is in force."""
    from fuseid.apps.show import print_json
    from fuseid.pipelines.tokenizers import tokenizers as run_tokenizers

    found = run_tokenizers(db)
    if json:
        print_json({"tokenizers": [asdict(each) for each in found]})
    else:
        from fuseid.apps.history_text import print_tokenizers

        print_tokenizers(found)


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise BadInput(f"--max-age takes a number of minutes, hours or days like 90m, 26h or 2d, got {text!r}")
    return timedelta(**{_UNITS[found[2]]: float(found[1])})
