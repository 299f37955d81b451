"""Commands that change a database: remove, fit, drop, adopt, assign, gate, promote, rollback, retry; and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fuseid.api.runners import check_runner, fit_runner_named
from fuseid.apps.options import ConfigFile, Db, Json, load
from fuseid.core.errors import BadInput
from fuseid.core.surface import option


def remove(
    db: Db,
    ids: Annotated[
        Path, typer.Option("--ids", help="content_ids: .txt, one a line; .csv, .jsonl, .parquet with that column")
    ],
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Remove the items of a list of ids; an item that is ingested again has the ID it had."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.remove import remove as run_remove

    with Bars(quiet=json) as bars:
        run = run_remove(db, ids, load(config), bars)
    print_run(run, json)


def fit(
    db: Db,
    codebooks: Annotated[str | None, typer.Option(help="codes per level, e.g. 256,256,256")] = None,
    seed: Annotated[int | None, typer.Option(help="overrides tokenizer.seed")] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="a later fit: start from nothing and keep no codes of the champion")
    ] = False,
    align_to: Annotated[
        str | None, typer.Option(help="a later fit: id of the tokenizer whose codes to keep; default: the champion")
    ] = None,
    refit_fusion: Annotated[
        bool,
        typer.Option(
            "--refit-fusion", help="learn the fusion again, too: the next generation, beside the one in force"
        ),
    ] = False,
    generation: Annotated[
        int | None, typer.Option(help="fit on the fused vectors of this generation; default: the one in force")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="learn a fusion from pairs of items that the same people use; later: the next generation"),
    ] = None,
    runner: Annotated[
        str, typer.Option(help="ray: with tokenizer.sample: all, fit on a cluster; a sample is fitted here anyway")
    ] = "local",
    compare: Annotated[
        str | None,
        typer.Option(help="fit several and print their figures; no IDs: rq-kmeans,rq-kmeans:last=fsq,rq-vae,fsq"),
    ] = None,
    keep: Annotated[str | None, typer.Option(help="with --compare: the one to make a candidate")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Learn fusion and tokenizer, give every item its ID; the first tokenizer becomes champion."""
    from fuseid.apps.show import Bars, print_json, print_run

    check_runner(runner)
    sizes = None if codebooks is None else _sizes("--codebooks", codebooks)
    settings = load(config, tokenizer__codebook_sizes=sizes, tokenizer__seed=seed)
    if keep is not None and compare is None:
        raise BadInput(f"{option('keep')} names one of those of {option('compare')}; give both")
    from fuseid.pipelines.assignment.comparison import Comparison
    from fuseid.pipelines.fit import compare as run_compare
    from fuseid.pipelines.fit import fit as run_fit

    comparison = None if compare is None else Comparison.of(settings.tokenizer, compare, keep)
    asked: dict[str, Any] = {
        "cold": cold, "align_to": align_to, "refit_fusion": refit_fusion, "generation": generation, "pairs": pairs,
        "runner": fit_runner_named(runner, settings),
    }  # fmt: skip
    with Bars(quiet=json) as bars:
        if comparison is not None and keep is None:
            run, rows = None, run_compare(db, settings, comparison, bars, **asked)
        else:
            run = run_fit(db, settings, bars, comparison=comparison, **asked)
            rows = [] if comparison is None else comparison.rows
    if json and comparison is not None:
        compared = {"compared": [each.document() for each in rows]}
        print_json(compared if run is None else {**run.summary(), **compared})
        return
    if comparison is not None:
        from fuseid.apps.comparison_text import print_comparison

        print_comparison(rows, keep)
    if run is not None:
        print_run(run, json)


def drop(
    db: Db,
    generation: Annotated[int, typer.Option(help="the number of a generation that is not in force")],
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Free the fused vectors of a generation that is not in force; its IDs stay in the ledger."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.drop import drop as run_drop

    with Bars(quiet=json) as bars:
        run = run_drop(db, generation, load(config), bars)
    print_run(run, json)


def adopt(
    db: Db,
    ids: Annotated[
        Path, typer.Option("--ids", help="IDs: .parquet, .csv, .jsonl, .json (MiniOneRec), .pt (GRID), or an export")
    ],
    codebooks: Annotated[
        Path | None,
        typer.Option(help="their codebooks (.npz), by which new items get IDs; without: new items have none"),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="before the first fit: the vectors that the codebooks quantize, e.g. external")
    ] = None,
    item_map: Annotated[
        Path | None, typer.Option(help="names the items of MiniOneRec's and GRID's numbers (.parquet, .csv, .item2id)")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="codes per level, e.g. 256,256,256; default: the largest that occur")
    ] = None,
    unique: Annotated[bool, typer.Option("--unique", help="refuse an ID that two items have")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="make the IDs champion, also if there is one")] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Take over semantic IDs that are in production elsewhere, as they are."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.adopt import adopt as run_adopt

    with Bars(quiet=json) as bars:
        run = run_adopt(
            db, ids, load(config), codebooks=codebooks, space=space, item_map=item_map,
            sizes=None if sizes is None else _sizes("--sizes", sizes), unique=unique, promote=promote, progress=bars,
        )  # fmt: skip
    print_run(run, json)


def assign(
    db: Db,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Give IDs to items that have none yet."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.assign import assign as run_assign

    with Bars(quiet=json) as bars:
        run = run_assign(db, load(config), tokenizer, bars)
    print_run(run, json)


def gate(
    db: Db,
    tokenizer: Annotated[str, typer.Option(help="id of a fitted tokenizer")],
    against: Annotated[
        str | None, typer.Option(help="id of the tokenizer that it would replace; default: the champion")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Compare a tokenizer with the limits of `gate` in the configuration; the exit status is 5 if it is beyond one."""
    from fuseid.apps.gate_text import print_gate
    from fuseid.apps.show import Bars, print_json
    from fuseid.core.errors import GateFailed
    from fuseid.pipelines.gate import gate as run_gate

    with Bars(quiet=json) as bars:
        run, found = run_gate(db, load(config), tokenizer, against, bars)
    if json:
        print_json({**found, "run_id": run.run_id})
    else:
        print_gate(found)
    if not found["passed"]:
        beyond = [row["figure"] for row in found["limits"] if row["verdict"] != "passes"]
        raise GateFailed(f"{len(beyond)} of {len(found['limits'])} limits do not hold: {', '.join(beyond)}")


def promote(
    db: Db,
    tokenizer: Annotated[str, typer.Argument(help="id of a fitted tokenizer")],
    force: Annotated[bool, typer.Option("--force", help="also if the gate refuses it; `runs` records that")] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Make a fitted tokenizer the champion."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.promote import promote as run_promote

    with Bars(quiet=json) as bars:
        run = run_promote(db, tokenizer, load(config), bars, force=force)
    print_run(run, json)


def rollback(db: Db, config: ConfigFile = None, json: Json = False) -> None:
    """Make the former champion champion again, with its generation of fused vectors."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.rollback import rollback as run_rollback

    with Bars(quiet=json) as bars:
        run = run_rollback(db, load(config), bars)
    print_run(run, json)


def retry(
    db: Db,
    error_class: Annotated[
        str | None, typer.Option("--class", help="only this error class, e.g. DecodeTimeout")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(help="leave out items that were tried so often")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Let the next ingest try rejected items again."""
    from fuseid.apps.show import print_run
    from fuseid.pipelines.rejected import retry as run_retry

    print_run(run_retry(db, load(config), error_class, max_attempts), json)


def demo(
    out: Annotated[Path, typer.Option(help="output folder; an earlier demo in it is deleted")] = Path("demo-output"),
    runner: Annotated[str, typer.Option(help="ray or local")] = "ray",
) -> None:
    """Run all steps on the bundled sample and models: ingest, fit, look up, export, and write pages to look at."""
    from fuseid.apps.demo import run_demo

    run_demo(out, runner)


def _sizes(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{option} takes sizes like 256,256,256, got {text!r}") from None
