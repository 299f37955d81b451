"""Commands that look after a database: check, backup, restore."""

from __future__ import annotations

from typing import Annotated

import typer

from fuseid.apps.options import ConfigFile, Db, Json, load


def check(
    db: Db,
    repair: Annotated[
        bool, typer.Option("--repair", help="repair what can be repaired without losing anything")
    ] = False,
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="with --repair: items that show an ID of another item get a new one")
    ] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Read and compare everything; say what is damaged, what that costs and what repairs it. Ends with 1 where
    something is left to repair."""
    from fuseid.apps.show import Bars, print_facts, print_json, print_rows
    from fuseid.pipelines.check import check as run_check

    with Bars(quiet=json) as bars:
        found = run_check(db, load(config), repair, new_ids, bars)
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
