"""Commands that look at a database: rejected, explain, report, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fuseid.apps.options import Db, Json


def rejected(
    db: Db,
    error_class: Annotated[
        str | None, typer.Option("--class", help="only this error class, e.g. DecodeTimeout")
    ] = None,
    limit: Annotated[int, typer.Option(help="items shown at most")] = 20,
    json: Json = False,
) -> None:
    """Show which items were rejected, and why."""
    from fuseid.apps.show import print_json, print_rows
    from fuseid.pipelines.rejected import rejected as run_rejected

    found = run_rejected(db, error_class, limit)
    if json:
        print_json(found)
        return
    print_rows(found["classes"], ("error_class", "stage", "items"), title=f"{found['items']} rejected")
    if found["rows"]:
        columns = ("content_id", "error_class", "attempts", "last_run", "message")
        print_rows(found["rows"], columns, title=f"the first {len(found['rows'])}")


def explain(
    db: Db,
    content_id: Annotated[str, typer.Argument(help="content_id of an item")],
    page: Annotated[Path | None, typer.Option(help="also write an HTML page, with its frames")] = None,
    json: Json = False,
) -> None:
    """Show everything that is known about one item, and how it got its ID."""
    from fuseid.apps.show import flat, print_facts, print_json, print_rows
    from fuseid.pipelines.explain import explain as run_explain

    facts = run_explain(db, content_id)
    if page is not None:
        from fuseid.apps.item_page import write_item_page

        write_item_page(db, content_id, page)
    if json:
        print_json(facts)
        return
    prefixes = facts.pop("prefixes", [])
    ids = facts.pop("ids", [])
    nested = ("media", "models", "vectors", "fingerprints", "pinned", "rejected", "removed")
    facts.update(dict(flat(facts, nested)))
    facts = {name: value for name, value in facts.items() if name not in nested}
    print_facts(facts, title=content_id)
    print_rows(ids, ("sid", "tokenizer_id", "champion", "given_at", "run_id"), title="IDs in the ledger")
    shown = [
        {
            "prefix": p["prefix"],
            "items": p["items"],
            "examples": "; ".join(e["caption"] or e["content_id"] for e in p["examples"]),
        }
        for p in prefixes
    ]
    if shown:
        print_rows(shown, ("prefix", "items", "examples"), title="items that share each prefix")


def report(
    db: Db,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    compare: Annotated[str | None, typer.Option(help="id of a second tokenizer: compare, and what changes")] = None,
    popularity: Annotated[str | None, typer.Option(help="numeric attribute: also report head and tail by it")] = None,
    by: Annotated[list[str] | None, typer.Option(help="attribute: also report each value; may be repeated")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="file of pairs: also report how often held-out partners are near, and by what")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="also write an HTML page, with plots and examples")] = None,
    sample: Annotated[int, typer.Option(help="number of items whose vectors are measured")] = 20_000,
    json: Json = False,
) -> None:
    """Report how good the IDs are: collisions, use of codes, what they keep, neighbours, and what stands out."""
    from fuseid.apps.show import Bars, out, print_json
    from fuseid.pipelines.reports.document import report as run_report

    with Bars(quiet=json) as bars:
        document = run_report(
            db, tokenizer, compare=compare, popularity=popularity, attributes=by or (), pairs=pairs, sample=sample,
            progress=bars,
        )  # fmt: skip
    if page is not None:
        from fuseid.apps.report_page import write_report_page

        write_report_page(document, page)
    if json:
        print_json(document)
        return
    from fuseid.apps.report_text import print_report

    print_report(document)
    if page is not None:
        out.print(f"\nopen {page}", markup=False)


def evaluate(
    db: Db,
    sequences: Annotated[Path, typer.Option(help="folder that `fuseid export sequences --format parquet` wrote")],
    tokenizer: Annotated[str | None, typer.Option(help="id of a tokenizer; default: that of the sequences")] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="random, hashed, sasrec, or another tokenizer's id; may be repeated")
    ] = None,
    ids: Annotated[
        list[Path] | None,
        typer.Option(
            help="another system's IDs: .parquet, .csv, .jsonl, .json (MiniOneRec), .pt (GRID); may be repeated"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="models trained for each kind of ID")] = 5,
    setting: Annotated[str, typer.Option(help="tiny (minutes on two cores) or small")] = "tiny",
    users: Annotated[int | None, typer.Option(help="test users at most; overrides the setting's")] = None,
    cold_share: Annotated[
        list[float] | None,
        typer.Option(
            help="also with this share of each list for items that training lacks, if they share codes with the "
            "history, such as 0.1; may be repeated"
        ),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            help="id of a new tokenizer: how soon is a model of the old IDs as good with its IDs? may be repeated"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train small recommenders on the IDs and report their recall, compared with random and hashed IDs."""
    from fuseid.apps.show import Bars, print_json
    from fuseid.core.errors import BadInput
    from fuseid.core.surface import option
    from fuseid.pipelines.evaluation.evaluate import evaluate as run_evaluate
    from fuseid.pipelines.evaluation.settings import setting_named

    if warm_start:
        from fuseid.apps.warm_start_text import print_warm_start
        from fuseid.pipelines.evaluation.warm_start import warm_start as run_warm_start

        if named := [name for name, given in (("against", against), ("ids", ids), ("cold_share", cold_share)) if given]:
            raise BadInput(f"{option('warm_start')} has its own comparisons; leave out {option(named[0])}")
        with Bars(quiet=json) as bars:
            document = run_warm_start(
                db, sequences, warm_start, tokenizer, seeds=seeds, setting=setting_named(setting), users=users,
                progress=bars,
            )  # fmt: skip
        print_json(document) if json else print_warm_start(document)
        return
    with Bars(quiet=json) as bars:
        document = run_evaluate(
            db, sequences, tokenizer, against=against or ("random", "hashed"), ids=ids or (), seeds=seeds,
            setting=setting_named(setting), users=users, cold_share=cold_share or (), progress=bars,
        )  # fmt: skip
    if json:
        print_json(document)
        return
    from fuseid.apps.evaluate_text import print_evaluation

    print_evaluation(document)
