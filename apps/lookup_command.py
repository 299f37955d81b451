"""The command that finds content: lookup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fuseid.apps.filter_options import Attributes, Facets, Has, Kinds, Since, Tags, Until
from fuseid.apps.options import Clip, ConfigFile, Db, Json, Timeout, load


def lookup(
    db: Db,
    text: Annotated[list[str] | None, typer.Option(help='words; "..." is a phrase')] = None,
    image: Annotated[list[Path] | None, typer.Option(help="picture file")] = None,
    video: Annotated[list[Path] | None, typer.Option(help="video file")] = None,
    like: Annotated[list[str] | None, typer.Option(help="content_id of an item: find similar items")] = None,
    not_like: Annotated[list[str] | None, typer.Option(help="content_id of an item that results are unlike")] = None,
    sid: Annotated[str | None, typer.Option(help="semantic ID or prefix, e.g. 12-240")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="weight of a part of the query, e.g. like=0.5; default: 1")
    ] = None,
    space: Annotated[str | None, typer.Option(help="where to compare: clip, fused or the name of a modality")] = None,
    diverse: Annotated[
        str | None, typer.Option(help="N or N:DEPTH: at most N results whose IDs begin with the same DEPTH codes")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="results at most")] = 10,
    kind: Kinds = None,
    tag: Tags = None,
    attr: Attributes = None,
    since: Since = None,
    until: Until = None,
    has: Has = None,
    facet: Facets = None,
    where: Annotated[str | None, typer.Option(help="SQL condition, e.g. \"kind = 'video'\"")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help='queries in JSONL, one a line: {"text": "words", "k": 5}; with --out')
    ] = None,
    out: Annotated[Path | None, typer.Option(help="new .parquet file for the results of --from")] = None,
    timeout: Timeout = None,
    config: ConfigFile = None,
    clip: Clip = None,
    json: Json = False,
) -> None:
    """Find content by words, pictures, videos, items, or several of them at once; or by ID prefix."""
    from fuseid.apps.show import print_json, print_rows
    from fuseid.core.errors import BadInput
    from fuseid.core.surface import option
    from fuseid.pipelines.lookup import Catalog
    from fuseid.pipelines.search.filter_text import typed
    from fuseid.pipelines.store.rows import attributes_of

    given: dict[str, Any] = {"text": text, "image": image, "video": video, "like": like, "not_like": not_like}
    is_configured = config is not None or clip is not None or Path("fuseid.yaml").is_file()
    catalog = Catalog.open(db, load(config, clip__model=clip) if is_configured else None)
    chosen = typed(kind or (), tag or (), attr or (), since, until, has or ())
    if from_ is not None or out is not None:
        from fuseid.apps.lookup_bulk import lookup_from

        common = {
            "weights": _weights(weight), "space": space, "diverse": diverse, "k": k, "filter": chosen, "where": where,
            "timeout": timeout,
        }  # fmt: skip
        lookup_from(catalog, from_, out, {**given, "sid": sid, "facet": facet}, common, json)
        return
    if facet:
        from fuseid.apps.facet_text import print_facets

        if named := [name for name, value in given.items() if value is not None]:
            raise BadInput(f"{option('facet')} counts items of a filter or prefix; leave out {option(named[0])}")
        counted = catalog.facets(facet, filter=chosen, where=where, sid=sid, top=k, timeout=timeout)
        print_json({name: one.as_json() for name, one in counted.items()}) if json else print_facets(counted)
        return
    rows = catalog.search(
        **given, sid=sid, weights=_weights(weight), space=space, diverse=diverse, k=k, filter=chosen, where=where,
        timeout=timeout,
    ).to_pylist()  # fmt: skip
    if json:
        print_json([{**row, "attributes": attributes_of(row["attributes"])} for row in rows])
    else:
        print_rows(rows, ("score", "content_id", "kind", "sid", "caption"))


def _weights(given: list[str] | None) -> dict[str, str]:
    """NAME=NUMBER each -> by name; the number is checked where it is used. Raises BadInput."""
    from fuseid.core.errors import BadInput
    from fuseid.core.surface import option

    found: dict[str, str] = {}
    for text in given or []:
        name, sign, number = text.partition("=")
        if not sign:
            raise BadInput(f"{option('weight')} takes NAME=NUMBER, such as like=0.5; got {text[:80]!r}")
        if found.setdefault(name, number) != number:
            raise BadInput(f"{option('weight')} gives {name} two weights, {found[name]} and {number[:80]}")
    return found
