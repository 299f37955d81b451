"""Commands that write IDs for trainers: `fuseid export ids | sequences | tags | trie | vocabulary`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fuseid.api.runners import check_runner
from fuseid.apps.options import Db, Json, Timeout

export_app = typer.Typer(no_args_is_help=True, help="Write IDs for trainers.")


@export_app.command("ids")
def export_ids(
    db: Db,
    out: Annotated[Path, typer.Option(help="new folder")],
    format: Annotated[
        str | None,
        typer.Option(
            help="parquet (default), grid, minionerec, openonerec, forge, torcheasyrec, static, cornac, rectools or "
            "sidinspector"
        ),
    ] = None,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    since: Annotated[str | None, typer.Option(help="tag of an earlier export: also write what changed since")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="manifest of an earlier export, to write the same files again, byte for byte")
    ] = None,
    with_: Annotated[
        str | None, typer.Option("--with", help="id of a new tokenizer: write its IDs beside those of --tokenizer")
    ] = None,
    json: Json = False,
) -> None:
    """Write every item's semantic ID from one pinned version, which is tagged."""
    from fuseid.apps.show import Bars, print_facts, print_json
    from fuseid.pipelines.exports.ids import export_ids as run_export

    with Bars(quiet=json) as bars:
        written = run_export(db, out, format, tokenizer, since, manifest, bars, with_)
    if json:
        print_json(written)
        return
    shown = ("tag", "format", "items", "items_without_id", "tokenizer_id", "codebook_sizes", "collisions", "changes")
    facts = {name: written[name] for name in shown if name in written}
    if "since" in written and written["since"]["tokenizer_id"] != written["tokenizer_id"]:
        same = written["items"] - written["changes"]["added"] - written["changes"]["changed"]
        facts["changes of tokenizer"] = (
            f"the IDs of {written['since']['tag']} are of another tokenizer; {same:,} items have the same ID as there"
        )
    if "with" in written:
        facts |= {"with": written["with"]["tokenizer_id"], **_counts(written["both"])}
    print_facts({**facts, "files": ", ".join(written["files"])}, title=f"exported to {out}")


def _counts(both: Mapping[str, int]) -> dict[str, str]:
    """The counts of an export of old and new IDs, in words."""
    return {
        "IDs": f"{both['changed']:,} changed, {both['same']:,} the same, "
        f"{both['only_old']:,} only old, {both['only_new']:,} only new",
        "codes": f"{both['old_codes']:,} old, of which {both['split']:,} became several; "
        f"{both['new_codes']:,} new, of which {both['merged']:,} come from several",
    }


@export_app.command("sequences")
def export_sequences(
    db: Db,
    interactions: Annotated[
        Path, typer.Option(help=".parquet or .csv with user_id, content_id, timestamp; or a folder of them")
    ],
    out: Annotated[Path, typer.Option(help="new folder")],
    format: Annotated[
        str, typer.Option(help="parquet, jsonl, minionerec, grid, webdataset, cornac, rectools or sidinspector")
    ] = "parquet",
    split: Annotated[str, typer.Option(help="leave-one-out or by-time")] = "leave-one-out",
    cuts: Annotated[
        str | None,
        typer.Option(help="by-time: where valid and test begin, e.g. 0.8,0.9 or 2024-05-01T00:00Z,2024-06-01T00:00Z"),
    ] = None,
    train: Annotated[
        str | None, typer.Option(help="training examples: prefix, window or last; default: what the format expects")
    ] = None,
    max_history: Annotated[int, typer.Option(help="newest events of a history that are kept")] = 50,
    min_history: Annotated[int, typer.Option(help="an event with fewer events before it is not a target")] = 1,
    min_events: Annotated[int, typer.Option(help="a user with fewer events has no examples")] = 1,
    time_zone: Annotated[str | None, typer.Option(help="time zone of time stamps without one, e.g. UTC")] = None,
    time_unit: Annotated[
        str | None, typer.Option(help="unit of numeric time stamps: s, ms, us or ns; default: by their size")
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="other columns to export, e.g. event,weight, or none; default: all")
    ] = None,
    shards: Annotated[int | None, typer.Option(help="number of shards; default: one for 500,000 events")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    tag: Annotated[str | None, typer.Option(help="tag of an earlier export, to read the same version again")] = None,
    runner: Annotated[str, typer.Option(help="ray, or local, which is faster on one machine")] = "ray",
    json: Json = False,
) -> None:
    """Join interactions with IDs into users' histories: train, valid and test examples for a trainer."""
    from fuseid.apps.show import Bars, print_facts, print_json
    from fuseid.pipelines.sequences.export import export_sequences as run_export
    from fuseid.pipelines.sequences.options import Options, parse_cuts
    from fuseid.pipelines.sequences.shards import LocalShardRunner, ShardRunner

    check_runner(runner)
    options = Options(split, parse_cuts(cuts, time_zone) if cuts else (), train, max_history, min_history, min_events)
    chosen: ShardRunner = LocalShardRunner()
    if runner == "ray":
        from fuseid.ray_jobs.sequences import RayShardRunner

        chosen = RayShardRunner()
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
    timeout: Timeout = None,
    tokenizer: Annotated[str | None, typer.Option(help="id of a fitted tokenizer; default: the champion")] = None,
    digit: Annotated[
        bool, typer.Option("--digit/--no-digit", help="keep the collision digit as the last code, or leave it out")
    ] = True,
    json: Json = False,
) -> None:
    """Write the trie of all IDs from one pinned version, for constrained decoding."""
    from fuseid.apps.show import print_facts, print_json
    from fuseid.pipelines.exports.tries import export_trie as run_export

    written = run_export(db, out, tokenizer, where, digit, timeout)
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
    with_: Annotated[
        str | None, typer.Option("--with", help="id of a new tokenizer: its tokens follow those of --tokenizer")
    ] = None,
    json: Json = False,
) -> None:
    """Write the token of every code and collision digit, in order."""
    from fuseid.apps.show import flat, print_facts, print_json
    from fuseid.pipelines.exports.vocabularies import export_vocabulary as run_export

    written = run_export(db, out, tokenizer, style, with_)
    if json:
        print_json(written)
        return
    facts = {**written, **dict(flat(written, ("old", "new")))}
    print_facts(
        {name: value for name, value in facts.items() if name not in ("old", "new", "old_of_new", "kind")},
        title=f"exported to {out}",
    )
