"""Commands that look after a database: maintain, check, backup, restore, upgrade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fuseid.apps.options import ConfigFile, Db, Json, load


def maintain(
    db: Db,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="change nothing; show the indexes and what would be done to each")
    ] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Make and extend the indexes, measure how much look-ups find through them, make again those that find too little.
    Every job does that at its end, too, for the indexes that have changed."""
    from dataclasses import asdict

    from fuseid.apps.index_text import print_indexes
    from fuseid.apps.show import Bars, print_json, print_run
    from fuseid.pipelines.maintain import maintain as run_maintain

    with Bars(quiet=json) as bars:
        made = run_maintain(db, load(config), bars, dry_run=dry_run)
    if json:
        indexes = [asdict(state) for state in made.indexes]
        print_json({**({} if made.run is None else made.run.summary()), "indexes": indexes})
        return
    if made.run is not None:
        print_run(made.run, json)
    print_indexes(made.indexes)


def check(
    db: Db,
    repair: Annotated[
        bool, typer.Option("--repair", help="repair what can be repaired without losing anything")
    ] = False,
    accept_lost_ids: Annotated[
        bool, typer.Option("--accept-lost-ids", help="with --repair: go on without IDs that cannot be recovered")
    ] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Read and compare everything; report what is damaged, what is lost by that and what repairs it. The exit status is
    1 if something is left to repair."""
    from fuseid.apps.show import Bars, print_facts, print_json, print_rows
    from fuseid.pipelines.check import check as run_check

    with Bars(quiet=json) as bars:
        found = run_check(db, load(config), repair, accept_lost_ids, bars)
    if json:
        print_json(found)
    else:
        facts = {name: f"{table['rows']:,} rows, version {table['version']}" for name, table in found["tables"].items()}
        print_facts(facts, title=db)
        for title in ("repaired", "damages"):
            if found[title]:
                print_rows(found[title], ("where", "what", "cost", "remedy"), title=title)
        if not found["damages"]:
            print_facts({"damaged": "nothing"})
    if found["damages"]:
        raise typer.Exit(1)


def backup(
    db: Db,
    to: Annotated[str, typer.Option("--to", help="a new folder or object-store URI")],
    json: Json = False,
) -> None:
    """Copy a database as it is now, while jobs may write to it."""
    from fuseid.apps.show import Bars, print_json
    from fuseid.pipelines.backup import backup as run_backup

    with Bars(quiet=json) as bars:
        made = run_backup(db, to, bars)
    if json:
        print_json(made)
    else:
        _print_backup(made, f"backup of {db} in {to}")


def restore(
    db: Annotated[str, typer.Option("--db", help="the database to make: a new directory or object-store URI")],
    source: Annotated[str, typer.Option("--from", help="folder or object-store URI of `fuseid backup`")],
    exports: Annotated[
        list[Path] | None, typer.Option("--exports", help="an export of IDs (parquet) made since; may be repeated")
    ] = None,
    json: Json = False,
) -> None:
    """Make a database from a backup; IDs given since then are taken from exports."""
    from fuseid.apps.show import Bars, out, print_json
    from fuseid.pipelines.restore import restore as run_restore

    with Bars(quiet=json) as bars:
        made = run_restore(source, db, exports or (), bars)
    if json:
        print_json(made)
        return
    _print_backup(made, f"{db} from {source}")
    out.print(
        f"IDs that were given after {made['made_at']} and are in no export named here are unknown to {db}: it may give "
        "them to other items. Name exports made since with --exports.",
        soft_wrap=True,
    )


def upgrade(db: Db, config: ConfigFile = None, json: Json = False) -> None:
    """Bring the database of an earlier fuseid to the present schema version, in place. Until then it can be read."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.upgrade import upgrade as run_upgrade

    with Bars(quiet=json) as bars:
        run = run_upgrade(db, load(config), bars)
    print_run(run, json)


def _print_backup(made: dict[str, Any], title: str) -> None:
    from fuseid.apps.show import print_facts

    facts = {name: f"{rows:,} rows, version {made['versions'][name]}" for name, rows in made["rows"].items()}
    facts |= {"made at": made["made_at"], "MiB": f"{made['bytes'] / 2**20:,.1f}"}
    if "ids_from_exports" in made:
        facts["IDs from exports"] = f"{made['ids_from_exports']:,}"
    print_facts(facts, title=title)
