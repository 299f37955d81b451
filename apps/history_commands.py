"""Commands that tell what was done to a database: runs, tokenizers."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from fuseid.apps.options import Db, Json
from fuseid.core.errors import BadInput

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def runs(
    db: Db,
    last: Annotated[int | None, typer.Option(help="runs shown at most  [default: 10]", show_default=False)] = None,
    job: Annotated[list[str] | None, typer.Option(help="only runs of this job, e.g. ingest; may be repeated")] = None,
    max_age: Annotated[
        str | None,
        typer.Option(help="for monitoring: exit with 1 if the last success of each --job is older, e.g. 26h, 90m, 2d"),
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="metrics of the database and of the last run of each job, as text")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="value of the label db of the metrics; by default the --db as given")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="file for the metrics, replaced whole; by default standard output")
    ] = None,
    json: Json = False,
) -> None:
    """Show what jobs did, how they ended, and how long ago each kind of job last succeeded."""
    from fuseid.apps.show import print_json

    if prometheus:
        others = {"--last": last, "--job": job, "--max-age": max_age, "--json": json}
        if given := [option for option, value in others.items() if value]:
            raise typer.BadParameter(f"--prometheus writes the metrics of all jobs, so it does not take {given[0]}")
        _write_metrics(db, name, out)
        return
    if name is not None or out is not None:
        raise typer.BadParameter(f"--{'out' if name is None else 'name'} belongs to --prometheus")
    from fuseid.pipelines.runs import runs as run_runs

    limit = None if max_age is None else _age(max_age)
    if limit is not None and not job:
        raise typer.BadParameter("--max-age is that of a --job, such as --job ingest")
    history = run_runs(db, 10 if last is None else last, job or ())
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


def _write_metrics(db: str, name: str | None, out: Path | None) -> None:
    from fuseid.apps.prometheus_text import prometheus_text, write_whole
    from fuseid.pipelines.metrics import metrics

    text = prometheus_text(metrics(db, name))
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_whole(out, text)


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
