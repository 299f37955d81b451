"""The `fuseid` command. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fuseid.core.errors import BadInput, FuseidError

app = typer.Typer(
    name="fuseid", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Turns a catalogue of media into semantic IDs: ingest, fit, look up, export.",
)  # fmt: skip
export_app = typer.Typer(no_args_is_help=True, help="Write IDs for trainers.")
app.add_typer(export_app, name="export")

Db = Annotated[str, typer.Option("--db", envvar="FUSEID_DB", help="database: a directory or an object-store URI")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", envvar="FUSEID_CONFIG", help="fuseid.yaml; default: the one in this folder, if any"),
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]
Clip = Annotated[str | None, typer.Option("--clip", help="CLIP model; overrides clip.model")]
Vlm = Annotated[str | None, typer.Option("--vlm", help="VLM; overrides vlm.model; `none` switches it off")]


# Typer brings its own copy of click, whose base of all usage errors it does not export.
_USAGE = typer.BadParameter.__bases__[0]
# What Typer returns after Ctrl-C.
_INTERRUPTED = 130


def _config(path: Path | None, **overrides: Any) -> Any:
    from fuseid.core.config import load_config

    if path is None and Path("fuseid.yaml").is_file():
        path = Path("fuseid.yaml")
    return load_config(path, {name.replace("__", "."): value for name, value in overrides.items()})


def _off(model: str | None) -> str | None:
    return None if model is None or model == "none" else model


@app.command()
def ingest(
    db: Db,
    source: Annotated[
        str | None, typer.Argument(help="manifest (.parquet, .jsonl, .csv), folder of media, tar shards; or uri")
    ] = None,
    vectors: Annotated[Path | None, typer.Option(help="ready-made vectors (.parquet, or .npy with .ids.txt)")] = None,
    runner: Annotated[str, typer.Option(help="ray, or local for small jobs")] = "ray",
    config: ConfigFile = None,
    clip: Clip = None,
    vlm: Vlm = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="remove what SOURCE, the whole catalogue, no longer lists")
    ] = False,
    max_prune: Annotated[str | None, typer.Option(help="refuse to prune more; overrides run.max_prune (20%)")] = None,
    max_rejected: Annotated[
        str | None, typer.Option(help="stop where more fail, e.g. 5% or 100; overrides run.max_rejected (off)")
    ] = None,
    json: Json = False,
) -> None:
    """Decode and encode what is new or changed; give IDs once a tokenizer is fitted."""
    from fuseid.apps.show import Bars, print_run

    if (source is None) == (vectors is None):
        raise BadInput("name one source: a manifest or folder, or --vectors FILE")
    if runner not in ("ray", "local"):
        raise BadInput(f"unknown runner {runner!r}; there are ray and local")
    limits = {"run__max_prune": max_prune, "run__max_rejected": max_rejected}
    settings = _config(config, clip__model=clip, vlm__model=_off(vlm), **limits)
    if vlm == "none":
        settings = settings.model_copy(update={"vlm": settings.vlm.model_copy(update={"model": None})})
    from fuseid.pipelines.sources import Source, Vectors, open_source

    with Bars(quiet=json) as bars:
        if vectors is not None:
            # Nothing is left to encode: no model, and no cluster for it.
            settings = settings.model_copy(
                update={"clip": None, "vlm": settings.vlm.model_copy(update={"model": None})}
            )
            runner = "local"
            listed: Source = Vectors(vectors)
        elif source is not None:
            listed = open_source(source, settings.source)
        if runner == "ray":
            from fuseid.ray_jobs.ingest import ray_ingest

            run = ray_ingest(db, listed, settings, bars, prune)
        else:
            from fuseid.pipelines.ingest import ingest as local_ingest
            from fuseid.pipelines.runners import LocalRunner

            run = local_ingest(db, listed, settings, LocalRunner(), bars, prune=prune)
    print_run(run, json)


@app.command()
def fit(
    db: Db,
    codebooks: Annotated[str | None, typer.Option(help="codes per level, e.g. 256,256,256")] = None,
    seed: Annotated[int | None, typer.Option(help="overrides tokenizer.seed")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Learn fusion and tokenizer, give every item its ID; the first tokenizer becomes champion."""
    from fuseid.apps.show import Bars, print_run

    sizes = None
    if codebooks is not None:
        try:
            sizes = [int(part) for part in codebooks.split(",")]
        except ValueError:
            raise BadInput(f"--codebooks takes sizes like 256,256,256, got {codebooks!r}") from None
    settings = _config(config, tokenizer__codebook_sizes=sizes, tokenizer__seed=seed)
    from fuseid.pipelines.fit import fit as run_fit

    with Bars(quiet=json) as bars:
        run = run_fit(db, settings, bars)
    print_run(run, json)


@app.command()
def assign(
    db: Db,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Give IDs to items that have none yet."""
    from fuseid.apps.show import Bars, print_run
    from fuseid.pipelines.fit import assign_all

    with Bars(quiet=json) as bars:
        run = assign_all(db, _config(config), tokenizer, bars)
    print_run(run, json)


@app.command()
def promote(
    db: Db,
    tokenizer: Annotated[str, typer.Argument(help="id of a fitted tokenizer")],
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Make a fitted tokenizer the champion."""
    from fuseid.apps.show import print_run
    from fuseid.pipelines.fit import promote as run_promote

    print_run(run_promote(db, tokenizer, _config(config)), json)


@app.command()
def retry(
    db: Db,
    error_class: Annotated[
        str | None, typer.Option("--class", help="only this error class, e.g. DecodeTimeout")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(help="leave alone what was tried as often")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Let the next ingest try rejected items again."""
    from fuseid.apps.show import print_run
    from fuseid.pipelines.retry import retry as run_retry

    print_run(run_retry(db, _config(config), error_class, max_attempts), json)


@app.command()
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


@app.command()
def lookup(
    db: Db,
    text: Annotated[str | None, typer.Option(help="words")] = None,
    image: Annotated[Path | None, typer.Option(help="picture file")] = None,
    video: Annotated[Path | None, typer.Option(help="video file")] = None,
    id: Annotated[str | None, typer.Option(help="content_id of an item: what is like it")] = None,
    sid: Annotated[str | None, typer.Option(help="semantic ID or prefix, e.g. 12-240")] = None,
    k: Annotated[int, typer.Option("-k", help="results at most")] = 10,
    where: Annotated[str | None, typer.Option(help="SQL condition, e.g. \"kind = 'video'\"")] = None,
    config: ConfigFile = None,
    clip: Clip = None,
    json: Json = False,
) -> None:
    """Find content by words, picture, video, item or ID prefix."""
    from fuseid.apps.show import print_json, print_rows
    from fuseid.pipelines.lookup import Catalog

    told = config is not None or clip is not None or Path("fuseid.yaml").is_file()
    catalog = Catalog.open(db, _config(config, clip__model=clip) if told else None)
    rows = catalog.search(text=text, image=image, video=video, like=id, sid=sid, k=k, where=where).to_pylist()
    if json:
        print_json(rows)
    else:
        print_rows(rows, ("score", "content_id", "kind", "sid", "caption"))


@app.command()
def explain(
    db: Db,
    content_id: Annotated[str, typer.Argument(help="content_id of an item")],
    page: Annotated[Path | None, typer.Option(help="also draw it, with its frames, as an HTML file")] = None,
    json: Json = False,
) -> None:
    """Show all that is known of one item and how its ID came about."""
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
    nested = ("media", "models", "vectors", "fingerprints", "pinned", "rejected")
    facts.update(dict(flat(facts, nested)))
    facts = {name: value for name, value in facts.items() if name not in nested}
    print_facts(facts, title=content_id)
    print_rows(ids, ("sid", "tokenizer_id", "champion", "run_id"), title="IDs in the ledger")
    shown = [
        {
            "prefix": p["prefix"],
            "items": p["items"],
            "examples": "; ".join(e["caption"] or e["content_id"] for e in p["examples"]),
        }
        for p in prefixes
    ]
    print_rows(shown, ("prefix", "items", "examples"), title="who shares each prefix")


@app.command()
def report(
    db: Db,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    compare: Annotated[str | None, typer.Option(help="id of a second one, shown beside it")] = None,
    popularity: Annotated[str | None, typer.Option(help="numeric attribute: tell head and tail apart by it")] = None,
    by: Annotated[list[str] | None, typer.Option(help="attribute: tell its values apart; may be repeated")] = None,
    page: Annotated[Path | None, typer.Option(help="draw it, with examples, as an HTML file")] = None,
    sample: Annotated[int, typer.Option(help="items whose vectors are looked at")] = 20_000,
    json: Json = False,
) -> None:
    """Tell how good the IDs are: collisions, use of codes, what they keep, neighbours, and what stands out."""
    from fuseid.apps.show import Bars, out, print_json
    from fuseid.pipelines.reports.document import report as run_report

    with Bars(quiet=json) as bars:
        document = run_report(
            db, tokenizer, compare=compare, popularity=popularity, attributes=by or (), sample=sample, progress=bars
        )
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


@app.command()
def evaluate(
    db: Db,
    sequences: Annotated[Path, typer.Option(help="folder that `fuseid export sequences --format parquet` wrote")],
    tokenizer: Annotated[str | None, typer.Option(help="id; default: the one that the sequences are of")] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="random, hashed, or another tokenizer's id; may be repeated")
    ] = None,
    seeds: Annotated[int, typer.Option(help="models trained for each kind of ID")] = 5,
    setting: Annotated[str, typer.Option(help="tiny (minutes on two cores) or small")] = "tiny",
    users: Annotated[int | None, typer.Option(help="test users at most; overrides the setting's")] = None,
    json: Json = False,
) -> None:
    """Train small recommenders on the IDs and tell what they recall, beside random and hashed IDs."""
    from fuseid.apps.show import Bars, print_json
    from fuseid.pipelines.evaluation.evaluate import evaluate as run_evaluate
    from fuseid.pipelines.evaluation.settings import setting_named

    with Bars(quiet=json) as bars:
        document = run_evaluate(
            db, sequences, tokenizer, against=against or ("random", "hashed"), seeds=seeds,
            setting=setting_named(setting), users=users, progress=bars,
        )  # fmt: skip
    if json:
        print_json(document)
        return
    from fuseid.apps.evaluate_text import print_evaluation

    print_evaluation(document)


@export_app.command("ids")
def export_ids(
    db: Db,
    out: Annotated[Path, typer.Option(help="new folder")],
    format: Annotated[
        str | None,
        typer.Option(help="parquet (default), grid, minionerec, openonerec, forge, torcheasyrec or static"),
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    since: Annotated[str | None, typer.Option(help="tag of an earlier export: also write what changed since")] = None,
    manifest: Annotated[Path | None, typer.Option(help="of an earlier export, to make again byte for byte")] = None,
    json: Json = False,
) -> None:
    """Write every item's semantic ID from one pinned version, which is tagged."""
    from fuseid.apps.show import Bars, print_facts, print_json
    from fuseid.pipelines.exports.ids import export_ids as run_export

    with Bars(quiet=json) as bars:
        written = run_export(db, out, format, tokenizer, since, manifest, bars)
    if json:
        print_json(written)
        return
    shown = ("tag", "format", "items", "items_without_id", "tokenizer_id", "codebook_sizes", "collisions", "changes")
    facts = {name: written[name] for name in shown if name in written}
    print_facts({**facts, "files": ", ".join(written["files"])}, title=f"exported to {out}")


@export_app.command("sequences")
def export_sequences(
    db: Db,
    interactions: Annotated[
        Path, typer.Option(help=".parquet or .csv with user_id, content_id, timestamp; or a folder of them")
    ],
    out: Annotated[Path, typer.Option(help="new folder")],
    format: Annotated[str, typer.Option(help="parquet, jsonl, minionerec, grid or webdataset")] = "parquet",
    split: Annotated[str, typer.Option(help="leave-one-out or by-time")] = "leave-one-out",
    cuts: Annotated[
        str | None,
        typer.Option(help="by-time: where valid and test begin, e.g. 0.8,0.9 or 2024-05-01T00:00Z,2024-06-01T00:00Z"),
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="training examples: prefix, window or last; default: what the format expects")
    ] = None,
    max_history: Annotated[int, typer.Option(help="newest events of a history that are kept")] = 50,
    min_history: Annotated[int, typer.Option(help="an event with fewer before it is no target")] = 1,
    min_events: Annotated[int, typer.Option(help="a user with fewer has no example")] = 1,
    time_zone: Annotated[str | None, typer.Option(help="of time stamps that name none, e.g. UTC")] = None,
    time_unit: Annotated[str | None, typer.Option(help="of numbers: s, ms, us or ns; default: by their size")] = None,
    keep: Annotated[
        str | None, typer.Option(help="other columns that come along, e.g. event,weight, or none; default: all")
    ] = None,
    shards: Annotated[int | None, typer.Option(help="parts; default: one for 500,000 events")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    tag: Annotated[str | None, typer.Option(help="of an earlier export, whose version is read again")] = None,
    runner: Annotated[str, typer.Option(help="ray, or local for small jobs")] = "ray",
    json: Json = False,
) -> None:
    """Join interactions with IDs into users' histories, as a trainer's train, valid and test examples."""
    from fuseid.apps.show import Bars, print_facts, print_json
    from fuseid.pipelines.sequences.export import export_sequences as run_export
    from fuseid.pipelines.sequences.options import Options, parse_cuts
    from fuseid.pipelines.sequences.shards import LocalRunner, Runner

    if runner not in ("ray", "local"):
        raise BadInput(f"unknown runner {runner!r}; there are ray and local")
    options = Options(split, parse_cuts(cuts, time_zone) if cuts else (), train, max_history, min_history, min_events)
    chosen: Runner = LocalRunner()
    if runner == "ray":
        from fuseid.ray_jobs.sequences import RayRunner

        chosen = RayRunner()
    kept = None if keep is None else [name for name in keep.split(",") if name and keep != "none"]
    with Bars(quiet=json) as bars:
        manifest = run_export(
            db, interactions, out, format, options, tokenizer_id=tokenizer, tag=tag, time_zone=time_zone,
            time_unit=time_unit, keep=kept, shards=shards, runner=chosen, progress=bars,
        )  # fmt: skip
    if json:
        print_json(manifest)
        return
    shown = ("tag", "format", "tokenizer_id", "events", "dropped", "users", "users_without_example", "examples")
    unknown = ", ".join(row["content_id"] for row in manifest["unknown_items"]["most_frequent"][:5]) or None
    facts = {name: manifest[name] for name in shown} | {"most frequent unknown items": unknown}
    print_facts(facts | {"files": len(manifest["files"])}, title=f"exported to {out}")


@export_app.command("tags")
def export_tags(
    db: Db,
    remove: Annotated[str | None, typer.Option(help="tag whose versions may be cleaned up from now on")] = None,
    json: Json = False,
) -> None:
    """List the tags of exports, oldest versions first."""
    from fuseid.apps.show import print_json, print_rows
    from fuseid.pipelines.exports.tags import remove_tag, tags

    if remove is not None:
        remove_tag(db, remove)
    if json:
        print_json({"tags": tags(db)})
    else:
        print_rows([{"tag": tag} for tag in tags(db)], ("tag",))


@export_app.command("trie")
def export_trie(
    db: Db,
    out: Annotated[Path, typer.Option(help="new folder")],
    where: Annotated[str | None, typer.Option(help="SQL condition on items, e.g. \"kind = 'video'\"")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    digit: Annotated[
        bool, typer.Option("--digit/--no-digit", help="the collision digit is the last code, or left out")
    ] = True,
    json: Json = False,
) -> None:
    """Write the trie of all IDs from one pinned version, for constrained decoding."""
    from fuseid.apps.show import print_facts, print_json
    from fuseid.pipelines.exports.tries import export_trie as run_export

    written = run_export(db, out, tokenizer, where, digit)
    if json:
        print_json(written)
        return
    shown = ("tag", "items", "ids", "levels", "tokenizer_id", "codebook_sizes", "where")
    print_facts({name: written[name] for name in shown}, title=f"exported to {out}")


@export_app.command("vocabulary")
def export_vocabulary(
    db: Db,
    out: Annotated[Path, typer.Option(help="new file (JSON)")],
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    style: Annotated[str, typer.Option(help="minionerec: <a_1>; or openonerec: <s_a_1>")] = "minionerec",
    json: Json = False,
) -> None:
    """Write the token of every code and collision digit, in order."""
    from fuseid.apps.show import print_facts, print_json
    from fuseid.pipelines.exports.vocabularies import export_vocabulary as run_export

    written = run_export(db, out, tokenizer, style)
    if json:
        print_json(written)
    else:
        print_facts(written, title=f"exported to {out}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder that is made anew")] = Path("demo-output"),
    runner: Annotated[str, typer.Option(help="ray or local")] = "ray",
) -> None:
    """Run the whole way on the bundled sample and models: ingest, fit, look up, export, and a page to look at."""
    from fuseid.apps.demo import run_demo

    run_demo(out, runner)


def main() -> None:
    """Entry point: one line and an exit status for what is wrong, never a stack trace (FUSEID_DEBUG=1 shows it)."""
    # An exit, not a death: what a command has open is closed, and its row in `runs` says that it was stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    _log()
    try:
        if app(prog_name="fuseid", standalone_mode=False) == _INTERRUPTED:
            _stop(KeyboardInterrupt(), "interrupted; run the same command again to go on", _INTERRUPTED)
    except FuseidError as error:
        _stop(error, str(error), error.exit_status)
    except Exception as error:
        if isinstance(error, _USAGE):
            _stop_usage(error)
        first = (str(error) or type(error).__name__).strip().splitlines()[0][:300]
        _stop(error, f"{type(error).__name__}: {first} (FUSEID_DEBUG=1 shows where)", 1)


def _log() -> None:
    """FUSEID_LOG=INFO shows on standard error what runs log: a line for each run and for each rejected item."""
    level = os.environ.get("FUSEID_LOG", "").upper()
    if not level:
        return
    if level not in logging.getLevelNamesMapping():
        _stop(BadInput(), f"FUSEID_LOG is a level like INFO, not {level!r}", 1)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("fuseid").setLevel(level)


def _stop_usage(error: Any) -> None:
    """Wrong usage is one line too; a command without its arguments shows its help."""
    message = " ".join(error.format_message().split())
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        command = error.ctx.command_path if error.ctx else "fuseid"
        print(f"error: {message} (`{command} --help` shows what there is)", file=sys.stderr)
    sys.exit(error.exit_code)


def _stop(error: BaseException, line: str, status: int) -> None:
    if os.environ.get("FUSEID_DEBUG") == "1":
        raise error
    print(f"error: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
