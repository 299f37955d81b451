"""The commands ingest and plan, which take the same options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fuseid.api.runners import check_runner, runner_named
from fuseid.apps.options import Clip, ConfigFile, Db, Json, Vlm, load

if TYPE_CHECKING:
    from fuseid.core.config import Config
    from fuseid.pipelines.sources.item import Source
    from fuseid.pipelines.sources.vectors import Vectors

SourcePath = Annotated[
    str | None, typer.Argument(help="manifest (.parquet, .jsonl, .csv, .tsv), folder of media, tar shards; or uri")
]
VectorsPath = Annotated[
    str | None,
    typer.Option(
        help="ready-made vectors: .parquet, .npy with .ids.txt, a folder or pattern, a uri, lance:PATH#COLUMN"
    ),
]
Name = Annotated[str | None, typer.Option(help="a name for these vectors, such as audio (external)")]
RunnerName = Annotated[
    str | None, typer.Option(help="ray, or local for small jobs; by default local for --vectors, else ray")
]
Prune = Annotated[bool, typer.Option("--prune", help="remove items that SOURCE, the whole catalogue, no longer lists")]
MaxPrune = Annotated[str | None, typer.Option(help="refuse to prune more; overrides run.max_prune (20%)")]
MaxRejected = Annotated[
    str | None, typer.Option(help="stop if more items fail, e.g. 5% or 100; overrides run.max_rejected (off)")
]
ExpectRows = Annotated[
    int | None, typer.Option(help="refuse a source that lists more or fewer items; overrides source.expect_rows")
]
RequireSuccess = Annotated[
    bool, typer.Option("--require-success", help="refuse a source without a file _SUCCESS beside it")
]


def ingest(
    db: Db,
    source: SourcePath = None,
    vectors: VectorsPath = None,
    name: Name = None,
    runner: RunnerName = None,
    config: ConfigFile = None,
    clip: Clip = None,
    vlm: Vlm = None,
    prune: Prune = False,
    max_prune: MaxPrune = None,
    max_rejected: MaxRejected = None,
    expect_rows: ExpectRows = None,
    require_success: RequireSuccess = False,
    json: Json = False,
) -> None:
    """Decode and encode what is new or changed; give IDs once a tokenizer is fitted."""
    from fuseid.apps.show import Bars, print_run

    runner = _checked(source, vectors, name, runner, prune)
    settings = _settings(config, clip, vlm, max_prune, max_rejected, expect_rows, require_success)
    from fuseid.pipelines.ingest import ingest as run_ingest

    with Bars(quiet=json) as bars:
        run = run_ingest(
            db, _opened(source, vectors, name, settings), settings, runner_named(runner), bars, prune=prune
        )
    print_run(run, json)


def plan(
    db: Db,
    source: SourcePath = None,
    vectors: VectorsPath = None,
    name: Name = None,
    runner: RunnerName = None,
    config: ConfigFile = None,
    clip: Clip = None,
    vlm: Vlm = None,
    prune: Prune = False,
    max_prune: MaxPrune = None,
    max_rejected: MaxRejected = None,
    expect_rows: ExpectRows = None,
    require_success: RequireSuccess = False,
    json: Json = False,
) -> None:
    """Show what an ingest with the same options would do, why, and how long it would take. Nothing is written."""
    from fuseid.apps.show import Bars, print_json

    _checked(source, vectors, name, runner, prune)
    settings = _settings(config, clip, vlm, max_prune, max_rejected, expect_rows, require_success)
    from fuseid.pipelines.plan import plan as run_plan

    with Bars(quiet=json) as bars:
        found = run_plan(db, _opened(source, vectors, name, settings), settings, bars, prune=prune)
    if json:
        print_json(found.document())
        return
    from fuseid.apps.plan_text import print_plan

    print_plan(found)


def _checked(source: str | None, vectors: str | None, name: str | None, runner: str | None, prune: bool) -> str:
    """The name of the runner. Raises BadInput and BadParameter for options that do not go together."""
    if (source is None) == (vectors is None):
        raise typer.BadParameter("name one source: a manifest or folder, or --vectors FILE")
    if name is not None and vectors is None:
        raise typer.BadParameter("--name names the vectors of --vectors")
    if name is not None and prune:
        raise typer.BadParameter(
            "--prune cannot go with --name: an item that these vectors do not list keeps its media and other vectors"
        )
    runner = runner or ("local" if vectors is not None else "ray")
    check_runner(runner)
    return runner


def _settings(
    config: Any, clip: str | None, vlm: str | None, max_prune: str | None, max_rejected: str | None,
    expect_rows: int | None, require_success: bool,
) -> Config:  # fmt: skip
    limits = {
        "run__max_prune": max_prune, "run__max_rejected": max_rejected, "source__expect_rows": expect_rows,
        "source__require_success": require_success or None,
    }  # fmt: skip
    settings: Config = load(config, clip__model=clip, vlm__model=None if vlm == "none" else vlm, **limits)
    if vlm == "none":
        settings = settings.model_copy(update={"vlm": settings.vlm.model_copy(update={"model": None})})
    return settings


def _opened(source: str | None, vectors: str | None, name: str | None, settings: Config) -> Source | Vectors:
    from fuseid.core.modalities import EXTERNAL
    from fuseid.pipelines.sources.open import open_source
    from fuseid.pipelines.sources.vectors import Vectors

    if vectors is not None:
        return Vectors(vectors, settings.source, name or EXTERNAL)
    assert source is not None
    return open_source(source, settings.source)
