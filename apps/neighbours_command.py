"""The command that writes the neighbours of all items: neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fuseid.api.runners import neighbour_runner_named
from fuseid.apps.options import Db, Json


def neighbours(
    db: Db,
    out: Annotated[Path, typer.Option(help="new folder")],
    k: Annotated[int, typer.Option("-k", "--k", help="neighbours of each item")] = 50,
    space: Annotated[
        str | None, typer.Option(help="vectors to compare: fused, clip_image, ...; default: those of lookup --like")
    ] = None,
    recall: Annotated[float, typer.Option(help="share of the true neighbours that is found at least")] = 0.95,
    runner: Annotated[str, typer.Option(help="local, or ray: on a cluster, with the same result")] = "local",
    json: Json = False,
) -> None:
    """Write the most similar items of every item, from one pinned version, with the recall that the table has."""
    from fuseid.apps.show import Bars, print_facts, print_json
    from fuseid.pipelines.neighbours import neighbours as run_neighbours

    with Bars(quiet=json) as bars:
        written = run_neighbours(
            db, out, k, space=space, recall=recall, runner=neighbour_runner_named(runner), progress=bars
        )
    if json:
        print_json(written)
        return
    found = written["recall"]
    measured = f"{found['value']:.4f}, {found['low']:.4f} to {found['high']:.4f} (95%), by {found['canaries']:,} items"
    shown = ("space", "k", "items", "items_without_vector")
    facts = {name: written[name] for name in shown} | {
        "recall": "exact: every item was compared with all others" if written["partitions"] == 1 else measured,
        "compared": f"with {written['probes']:,} of {written['partitions']:,} partitions",
        "files": len(written["files"]),
    }
    print_facts(facts, title=f"written to {out}")
